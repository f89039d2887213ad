"""Every target of every network is the same function, on weights that hide nothing: no scale is 1, no shift is 0."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from export.errors import ExportError
from export.onnx_writer import generator_to_onnx, traces_of_power_iteration
from export.targets import TARGETS, graph_for
from handlers.session import import_onnxruntime, to_uint8
from sngan_train.models import Generator, build_generator
from sngan_train.models.spectral_norm import SigmaSource
from sngan_train.presets import find_preset

TOLERANCE = 1e-5  # float32, three to six layers deep, sums in another order; a grey level is 7.8e-3
NUM_CLASSES = 1000
LABELS = np.array([0, 999, 3, 500, 3])

RGB_32 = {"image_size": 32, "channels": 3}
UNCONDITIONAL = {"conditioning": "none"}
# 16 channels: ONNX Runtime's blocked layout, in which most nets of use run, needs a multiple of 16.
NETWORKS: dict[str, dict[str, dict[str, Any]]] = {
    "resnet-16": {},
    "resnet-32-unconditional": {"data": RGB_32, "discriminator": UNCONDITIONAL},
    "resnet-48": {"data": {"image_size": 48, "channels": 3}, "generator": {"channels": 4}},
    "resnet-64": {"data": {"image_size": 64, "channels": 3}, "generator": {"channels": 2}},
    "resnet-128": {"data": {"image_size": 128, "channels": 3}, "generator": {"channels": 1}},
    "cnn": {"data": RGB_32, "generator": {"network": "cnn", "channels": 4}},
    "cnn-unconditional": {
        "data": RGB_32,
        "generator": {"network": "cnn", "channels": 4},
        "discriminator": UNCONDITIONAL,
    },
    "cnn-chainer-gan-lib": {"data": RGB_32, "generator": {"network": "cnn-chainer-gan-lib", "channels": 4}},
    "cnn-chainer-gan-lib-unconditional": {
        "data": {"image_size": 48, "channels": 1},
        "generator": {"network": "cnn-chainer-gan-lib", "channels": 4},
        "discriminator": UNCONDITIONAL,
    },
}


@torch.no_grad()
def randomised_generator(settings: dict[str, dict[str, Any]]) -> Generator:
    """A plain network whose biases, norms and tables are away from their starting values, with its own statistics."""
    common = {"generator": {"channels": 16, "latent_dim": 8, "spectral_norm": False}}
    config = find_preset("digits").override(common).override(settings)
    torch.manual_seed(0)
    generator = build_generator(config, NUM_CLASSES, source=SigmaSource.NONE)
    for name, parameter in generator.named_parameters():
        if name.endswith("scale.weight") or (name.endswith("weight") and parameter.ndim == 1):
            parameter.uniform_(0.5, 1.5)
        elif "norm" in name or name.endswith("bias"):
            parameter.normal_(0, 0.3)
    for module in generator.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0  # running statistics are those of the one batch that follows
    z = torch.randn(64, generator.latent_dim)
    generator.train()(*((z, torch.arange(64)) if generator.conditional else (z,)))
    return generator.eval()


class Case:
    """A network, its portable graph, inputs, and what torch draws for them."""

    def __init__(self, settings: dict[str, dict[str, Any]]) -> None:
        generator = randomised_generator(settings)
        self.portable = generator_to_onnx(generator)
        z = np.random.default_rng(0).standard_normal((len(LABELS), generator.latent_dim), dtype=np.float32)
        self.feed = {"z": z, "label": LABELS} if generator.conditional else {"z": z}
        with torch.no_grad():
            self.images = generator(*(torch.from_numpy(given) for given in self.feed.values())).numpy()


@pytest.fixture(scope="module")
def case_of() -> Callable[[str], Case]:
    cases: dict[str, Case] = {}

    def find(network: str) -> Case:
        if network not in cases:
            cases[network] = Case(NETWORKS[network])
        return cases[network]

    return find


def draw(model: onnx.ModelProto, outputs: list[str], feed: dict[str, np.ndarray]) -> list[np.ndarray]:
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found: list[np.ndarray] = session.run(outputs, feed)
    return found


def operations(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


@pytest.mark.parametrize("network", NETWORKS)
def test_every_target_is_the_same_function(
    network: str, case_of: Callable[[str], Case], monkeypatch: pytest.MonkeyPatch
) -> None:
    case = case_of(network)
    assert case.images.std() > 1000 * TOLERANCE, "images that are all alike would prove nothing"
    models = {target: graph_for(target, case.portable)[0] for target in TARGETS}
    models["cpu, for int8"], _ = graph_for("cpu", case.portable, "int8")
    for form in ("ROW_PAIRS", "SHARED_PRODUCTS"):
        monkeypatch.setattr(f"export.targets.{form}_FROM", 1)  # these networks are narrow, for speed
    models["cpu, wide"], _ = graph_for("cpu", case.portable)
    for name, model in models.items():
        (images,) = draw(model, ["image"], case.feed)
        np.testing.assert_allclose(images, case.images, atol=TOLERANCE, rtol=0, err_msg=name)


RESNET_16 = {"class_tables": 4, "batch_norm_neighbour": 1, "shortcut_before_upsampling": 0}
UNCONDITIONAL_RESNET_32 = {"class_tables": 0, "batch_norm_neighbour": 1, "shortcut_before_upsampling": 0}


@pytest.mark.parametrize(
    ("network", "target", "precision", "expected"),
    [
        ("resnet-16", "cpu", "float32", {**RESNET_16, "upsampling_as_shared_rows": 2, "image_in_blocks": 1}),
        ("resnet-16", "cpu", "int8", {**RESNET_16, "upsampling_as_phases": 2}),
        ("resnet-16", "gpu", "float32", {**RESNET_16, "upsampling_as_transposed": 2}),
        ("resnet-32-unconditional", "cpu", "float32", {**UNCONDITIONAL_RESNET_32, "upsampling_as_shared_rows": 3}),
        ("resnet-32-unconditional", "gpu", "float32", {**UNCONDITIONAL_RESNET_32, "upsampling_as_transposed": 3}),
        ("cnn", "cpu", "float32", {"class_tables": 3, "transposed_as_phases": 3, "image_in_blocks": 1}),
        ("cnn-chainer-gan-lib-unconditional", "cpu", "float32", {"batch_norm_neighbour": 1, "transposed_as_phases": 3}),
    ],
)
def test_how_often_each_rewrite_applies(
    network: str, target: str, precision: str, expected: dict[str, int], case_of: Callable[[str], Case]
) -> None:
    _, counts = graph_for(target, case_of(network).portable, precision)
    assert {name: counts[name] for name in expected} == expected


def test_wide_layers_take_forms_with_fewer_products(
    case_of: Callable[[str], Case], monkeypatch: pytest.MonkeyPatch
) -> None:
    forms = ("convolution_by_row_pairs", "upsampling_as_shared_products", "upsampling_as_shared_rows")
    portable = case_of("resnet-16").portable
    assert [graph_for("cpu", portable)[1][form] for form in forms] == [0, 0, 2]
    monkeypatch.setattr("export.targets.ROW_PAIRS_FROM", 16)
    assert [graph_for("cpu", portable)[1][form] for form in forms] == [2, 0, 2]
    monkeypatch.setattr("export.targets.SHARED_PRODUCTS_FROM", 16)
    assert [graph_for("cpu", portable)[1][form] for form in forms] == [2, 2, 0]


@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_the_grey_levels_are_those_of_the_image(target: str, case_of: Callable[[str], Case]) -> None:
    case = case_of("resnet-16")
    model, _ = graph_for(target, case.portable)
    images, levels = draw(model, ["image", "image_u8"], case.feed)
    np.testing.assert_array_equal(levels, to_uint8(images))
    (alone,) = draw(model, ["image_u8"], case.feed)
    np.testing.assert_array_equal(alone, levels)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("network", ["resnet-16", "cnn-chainer-gan-lib-unconditional"])
def test_the_contract_of_the_file(target: str, network: str, case_of: Callable[[str], Case]) -> None:
    portable = case_of(network).portable
    given = portable.SerializeToString(deterministic=True)
    model, _ = graph_for(target, portable)
    onnx.checker.check_model(model, full_check=True)
    assert portable.SerializeToString(deterministic=True) == given, "what was given is not changed"
    assert list(model.graph.input) == list(portable.graph.input)
    assert model.graph.output[0] == portable.graph.output[0]
    assert [output.name for output in model.graph.output] == ["image"] + ["image_u8"] * (target != "portable")
    assert (model.ir_version, list(model.opset_import)) == (portable.ir_version, list(portable.opset_import))
    assert (model.producer_name, model.graph.name) == ("sngan", "sngan_generator")
    assert traces_of_power_iteration(model) == []
    made_by_nodes = {name for node in model.graph.node for name in node.output}
    assert {value.name for value in model.graph.value_info} <= made_by_nodes
    read = {name for node in model.graph.node for name in node.input}
    made = {constant.name for constant in model.graph.initializer} | {value.name for value in model.graph.input}
    assert made == read & made, "constants that nobody reads"
    assert read - made <= made_by_nodes | {""}


def test_the_portable_graph_is_the_exporters(case_of: Callable[[str], Case]) -> None:
    portable = case_of("resnet-16").portable
    assert graph_for("portable", portable) == (portable, {})


def test_an_unknown_target(case_of: Callable[[str], Case]) -> None:
    with pytest.raises(ExportError, match=r"'tpu'.*cpu, gpu, portable"):
        graph_for("tpu", case_of("resnet-16").portable)


WRITE = """
import sys, onnx
from export.targets import graph_for
model, _ = graph_for(sys.argv[1], onnx.load(sys.argv[2]))
sys.stdout.buffer.write(model.SerializeToString(deterministic=True))
"""


@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_two_processes_give_the_same_bytes(target: str, case_of: Callable[[str], Case], tmp_path: Path) -> None:
    """With other seeds of Python's hashes, so that no set's order shows."""
    portable = case_of("resnet-16").portable
    file = tmp_path / "portable.onnx"
    onnx.save(portable, file)
    written = [
        subprocess.run(
            [sys.executable, "-c", WRITE, target, str(file)],
            env={"PYTHONHASHSEED": seed, "PATH": ""},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    model, _ = graph_for(target, portable)
    assert written == [model.SerializeToString(deterministic=True)] * 2
