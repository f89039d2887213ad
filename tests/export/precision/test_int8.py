from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from export.precision.int8 import to_int8
from export.precision.number_format import S8_S8, U8_S7
from export.precision.sensitivity import SEARCH_MARGIN_DB
from handlers.metadata import GeneratorMetadata

Graph = tuple[onnx.ModelProto, GeneratorMetadata]
FEW = {"calibration_images": 32, "search_images": 16}


def with_an_outlier_in_front_of(model: onnx.ModelProto, convolution: str, factor: float) -> onnx.ModelProto:
    """The same function, with one channel before `convolution` that is `factor` times as large as the others.

    Its scale and shift are multiplied for every class and the weights that read it divided, so a range for the whole
    tensor has hardly a step left for the other channels.
    """
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    tensors = {tensor.name: tensor for tensor in changed.graph.initializer}
    norm = convolution.replace("conv", "norm")
    for name in (f"{norm}.scale.weight", f"{norm}.shift.weight"):
        table = numpy_helper.to_array(tensors[name]).copy()
        table[:, 0] *= factor
        tensors[name].CopyFrom(numpy_helper.from_array(table, name))
    weight = numpy_helper.to_array(tensors[f"{convolution}.weight"]).copy()
    weight[:, 0] /= factor
    tensors[f"{convolution}.weight"].CopyFrom(numpy_helper.from_array(weight, f"{convolution}.weight"))
    return changed


def test_all_layers_where_the_budget_holds(for_integers: Graph) -> None:
    model, metadata = for_integers
    found = to_int8(model, metadata, budget_db=35.0, **FEW)
    assert found.model is not None
    assert found.choice is not None
    assert len(found.choice.quantized) == len(found.choice.effects) == 7
    assert found.choice.psnr_db is not None
    assert found.choice.psnr_db >= 35.0 + SEARCH_MARGIN_DB
    assert sum(effect.share_of_multiply_adds for effect in found.choice.effects) == pytest.approx(1.0)
    report = found.to_dict()
    assert report["calibration_images"] == 32
    assert [layer["quantized"] for layer in report["layers"]] == [True] * 7


def test_a_sensitive_layer_is_found_by_measurement_and_left_in_float32(portable: Graph) -> None:
    model, metadata = portable
    plain = to_int8(model, metadata, **FEW)
    assert plain.choice is not None
    assert plain.choice.psnr_db is not None
    planted = with_an_outlier_in_front_of(model, "blocks.1.conv2", 3000.0)
    told: list[str] = []
    found = to_int8(planted, metadata, budget_db=plain.choice.psnr_db - 2 * SEARCH_MARGIN_DB, say=told.append, **FEW)
    assert found.model is not None
    assert found.choice is not None
    left = [effect for effect in found.choice.effects if not effect.quantized]
    reader = next(node for node in planted.graph.node if "blocks.1.conv2.weight" in node.input)
    assert [effect.name for effect in left] == [reader.output[0]]
    assert left[0].psnr_db == min(effect.psnr_db for effect in found.choice.effects)
    assert len(told) == 1
    assert reader.output[0] in told[0]
    kept = next(node for node in found.model.graph.node if "blocks.1.conv2.weight" in node.input)
    assert kept.op_type == "Conv"


def test_a_budget_that_no_layer_keeps_gives_no_model_and_says_so(portable: Graph) -> None:
    found = to_int8(*portable, budget_db=200.0, **FEW)
    assert found.model is None
    assert found.reason == "no layer is near enough to float32 in 8-bit numbers"
    assert [layer["quantized"] for layer in found.to_dict()["layers"]] == [False] * 7


def test_a_graph_without_convolutions_gives_no_model_and_says_so() -> None:
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Tanh", ["z"], ["image"])],
        "g",
        [onnx.helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, ["batch", 1, 2, 2])],
        [onnx.helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, ["batch", 1, 2, 2])],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    metadata = GeneratorMetadata(name="x", version="1", latent_dim=4, channels=1, height=2, width=2, color_mode="L")
    found = to_int8(model, metadata)
    assert found.model is None
    assert found.reason == "the graph has no convolution that ONNX Runtime computes in 8-bit numbers"


def test_nothing_of_the_tools_or_the_machine_is_left(any_graph: Graph, tmp_path: Path) -> None:
    model, metadata = any_graph
    before = model.SerializeToString(deterministic=True)
    found = to_int8(model, metadata, **FEW).model
    assert found is not None
    assert model.SerializeToString(deterministic=True) == before
    assert [(entry.domain, entry.version) for entry in found.opset_import] == [("", 18)]
    assert found.ir_version == 10
    assert (found.producer_name, found.graph.name) == ("sngan", "sngan_generator")
    assert list(found.metadata_props) == list(model.metadata_props)
    assert list(found.graph.input) == list(model.graph.input)
    assert list(found.graph.output) == list(model.graph.output)
    assert not found.graph.value_info
    assert not any(item.doc_string or item.metadata_props for item in (*found.graph.node, *found.graph.initializer))
    content = found.SerializeToString()
    for trace in (str(Path.cwd()), str(Path.home()), str(tmp_path.parent), sys.prefix):
        assert trace.encode() not in content
    names = [node.name for node in found.graph.node]
    assert all(names)
    assert len(set(names)) == len(names)


def test_equal_graphs_give_equal_bytes_in_another_process(for_integers: Graph, tmp_path: Path) -> None:
    """Whose sets are walked in another order."""
    model, metadata = for_integers
    found = to_int8(model, metadata, **FEW).model
    assert found is not None
    onnx.save(model, tmp_path / "float32.onnx")
    (tmp_path / "metadata.json").write_text(metadata.to_json(), encoding="utf-8")
    program = f"""
import onnx, pathlib
from export.precision.float16 import to_float16
from export.precision.int8 import to_int8
from handlers.metadata import GeneratorMetadata
model = onnx.load("float32.onnx")
metadata = GeneratorMetadata.from_json(pathlib.Path("metadata.json").read_text(encoding="utf-8"), "here")
pathlib.Path("int8.onnx").write_bytes(to_int8(model, metadata, **{FEW}).model.SerializeToString(deterministic=True))
pathlib.Path("float16.onnx").write_bytes(to_float16(model).SerializeToString(deterministic=True))
"""
    environment = {**os.environ, "PYTHONHASHSEED": "12345", "PYTHONPATH": str(Path(__file__).parents[3])}
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environment, check=True)
    from export.precision.float16 import to_float16

    assert (tmp_path / "int8.onnx").read_bytes() == found.SerializeToString(deterministic=True)
    assert (tmp_path / "float16.onnx").read_bytes() == to_float16(model).SerializeToString(deterministic=True)


@pytest.mark.parametrize(("machine", "numbers"), [("x86_64", U8_S7), ("AMD64", U8_S7), ("aarch64", S8_S8)])
def test_the_numbers_are_the_processors(
    portable: Graph, monkeypatch: pytest.MonkeyPatch, machine: str, numbers: object
) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    found = to_int8(*portable, **FEW)
    assert found.numbers is numbers
    assert found.model is not None
    activation = {
        numpy_helper.to_array(tensor).dtype for tensor in found.model.graph.initializer if "zero_point" in tensor.name
    }
    assert activation == {np.dtype(found.numbers.activation)}
