"""The written graph, read by the onnx package and by nothing of ours."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from export.fold import fold_spectral_norm
from export.onnx_writer import generator_to_onnx, traces_of_power_iteration
from sngan_train.checkpoint import open_checkpoint
from sngan_train.models import build_generator
from sngan_train.models.spectral_norm import SigmaSource
from sngan_train.presets import find_preset

SPECTRAL_NORM_OPERATIONS = {"Div", "MatMul", "ReduceL2", "Sqrt", "ReduceSum"}


@pytest.fixture(scope="module")
def model(tiny_run: Path) -> onnx.ModelProto:
    checkpoint = open_checkpoint(tiny_run)
    folded = fold_spectral_norm(checkpoint.load_generator_ema(), checkpoint.config, 3)
    return generator_to_onnx(folded)


@pytest.fixture(scope="module")
def cnn_model(tiny_cnn_run: Path) -> onnx.ModelProto:
    checkpoint = open_checkpoint(tiny_cnn_run)
    return generator_to_onnx(fold_spectral_norm(checkpoint.load_generator_ema(), checkpoint.config, 3))


def shape(value: onnx.ValueInfoProto) -> list[int | str]:
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]


def test_the_contract(model: onnx.ModelProto) -> None:
    inputs = {value.name: (value.type.tensor_type.elem_type, shape(value)) for value in model.graph.input}
    assert inputs == {
        "z": (onnx.TensorProto.FLOAT, ["batch", 8]),
        "label": (onnx.TensorProto.INT64, ["batch"]),
    }
    (output,) = model.graph.output
    assert (output.name, shape(output)) == ("image", ["batch", 1, 16, 16])
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 18)]
    assert model.ir_version <= 10


def test_the_contract_of_an_unconditional_generator(cnn_model: onnx.ModelProto) -> None:
    (z,) = cnn_model.graph.input
    assert (z.name, z.type.tensor_type.elem_type, shape(z)) == ("z", onnx.TensorProto.FLOAT, ["batch", 8])
    (output,) = cnn_model.graph.output
    assert (output.name, shape(output)) == ("image", ["batch", 3, 32, 32])
    assert traces_of_power_iteration(cnn_model) == []
    assert [node.op_type for node in cnn_model.graph.node].count("ConvTranspose") == 3


def test_no_node_initializer_or_name_of_power_iteration_is_left(model: onnx.ModelProto) -> None:
    assert traces_of_power_iteration(model) == []
    assert not {node.op_type for node in model.graph.node} & SPECTRAL_NORM_OPERATIONS
    floats = sum(
        int(np.prod(tensor.dims))
        for tensor in model.graph.initializer
        if tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) > 0
    )
    # Every parameter, and of the batch norms at most mean, variance and a unit scale and shift (the exporter folds
    # some of them into the convolution before); the smallest u has 1 entry, the smallest v 8, all of them 912.
    blocks = 2 * (2 * (8 * 8 * 9 + 8) + (8 * 8 + 8) + 2 * 2 * (3 * 8))
    parameters = (8 * 128 + 128) + blocks + 2 * 8 + (8 * 9 + 1)
    assert parameters <= floats <= parameters + 5 * 4 * 8


def test_traces_are_found_when_they_are_there() -> None:
    """A network in training exported as it is: what the guard is for."""
    config = find_preset("digits")  # the exporter computes small weights away by itself
    unfolded = build_generator(config, 3, source=SigmaSource.POWER_ITERATION).eval()
    with torch.no_grad():
        traces = traces_of_power_iteration(generator_to_onnx(unfolded))
    assert any(trace.endswith(".u") for trace in traces)
    assert any(trace.startswith("Div") or trace.startswith("MatMul") for trace in traces)


def test_nothing_of_the_exporting_machine_is_in_the_file(model: onnx.ModelProto) -> None:
    content = model.SerializeToString()
    for trace in (str(Path.cwd()).encode(), b"site-packages", b".py", b"sngan_train"):
        assert trace not in content
