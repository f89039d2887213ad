"""Fixtures that the tests of several packages share."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import handlers
from handlers.metadata import METADATA_KEY, GeneratorMetadata
from handlers.session import GeneratorSession

TINY_METADATA = GeneratorMetadata(
    name="sngan",
    version="1.2",
    latent_dim=8,
    class_names=("cat", "Dog", "frog"),
    channels=3,
    height=6,
    width=4,
    color_mode="RGB",
)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A GPU test says that it was not run, rather than being left out without a word."""
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device; this path has not been run on a GPU yet")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What tests have measured and kept with `record_property("figure", text)`, run side by side or not."""
    reports = [report for outcome in ("passed", "failed") for report in terminalreporter.getreports(outcome)]
    figures = {(one.nodeid, text): None for one in reports for name, text in one.user_properties if name == "figure"}
    if figures:
        terminalreporter.section("figures")
        for test, text in figures:
            terminalreporter.write_line(f"{test.rpartition('::')[2]}: {text}")


def write_tiny_generator(path: Path, metadata: GeneratorMetadata) -> Path:
    """A generator without a hidden layer, tanh(W z + b[label]), of the shape that `metadata` tells."""
    pixels = metadata.channels * metadata.height * metadata.width
    weight = np.sin(np.arange(metadata.latent_dim * pixels, dtype=np.float32)).reshape(-1, pixels)
    table = np.cos(np.arange(max(metadata.num_classes, 1) * pixels, dtype=np.float32)).reshape(-1, pixels)
    shape = np.array([-1, metadata.channels, metadata.height, metadata.width], dtype=np.int64)
    inputs = [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["batch", metadata.latent_dim])]
    nodes = [helper.make_node("MatMul", ["z", "weight"], ["projected"])]
    if metadata.num_classes:
        inputs.append(helper.make_tensor_value_info("label", TensorProto.INT64, ["batch"]))
        nodes.append(helper.make_node("Gather", ["table", "label"], ["shift"]))
    else:
        nodes.append(helper.make_node("Identity", ["table"], ["shift"]))
    nodes += [
        helper.make_node("Add", ["projected", "shift"], ["flat"]),
        helper.make_node("Reshape", ["flat", "shape"], ["square"]),
        helper.make_node("Tanh", ["square"], ["image"]),
    ]
    output = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", *shape[1:].tolist()])
    constants = {"weight": weight, "table": table, "shape": shape}
    graph = helper.make_graph(
        nodes, "tiny", inputs, [output], [numpy_helper.from_array(v, k) for k, v in constants.items()]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, {METADATA_KEY: metadata.to_json()})
    onnx.save(model, path)
    return path


def write_archive(path: Path, generator: Path) -> Path:
    """A `.mar` of `generator` with the handler of this source tree, by hand."""
    package = Path(handlers.__file__).parent
    manifest = {
        "runtime": "python",
        "model": {
            "modelName": "sngan",
            "modelVersion": "1.2",
            "serializedFile": "generator.onnx",
            "handler": "sngan_handler.py",
        },
    }
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("MAR-INF/MANIFEST.json", json.dumps(manifest))
        archive.write(generator, "generator.onnx")
        archive.write(package / "sngan_handler.py", "sngan_handler.py")
        for file in [*package.glob("*.py"), *package.glob("*.json")]:
            archive.write(file, f"handlers/{file.name}")
    return path


@pytest.fixture(scope="session")
def tiny_metadata() -> GeneratorMetadata:
    """The facts of `tiny_generator_onnx`."""
    return TINY_METADATA


@pytest.fixture(scope="session")
def make_generator() -> Callable[[Path, GeneratorMetadata], Path]:
    """`write_tiny_generator`, for tests that need other facts."""
    return write_tiny_generator


@pytest.fixture(scope="session")
def tiny_generator_onnx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A conditional generator file with `TINY_METADATA`'s facts; it runs in microseconds."""
    return write_tiny_generator(tmp_path_factory.mktemp("generator") / "generator.onnx", TINY_METADATA)


@pytest.fixture(scope="session")
def tiny_mar(tmp_path_factory: pytest.TempPathFactory, tiny_generator_onnx: Path) -> Path:
    """The archive of `tiny_generator_onnx`."""
    return write_archive(tmp_path_factory.mktemp("archive") / "sngan.mar", tiny_generator_onnx)


@pytest.fixture(scope="session")
def tiny_session(tiny_generator_onnx: Path) -> GeneratorSession:
    """`tiny_generator_onnx`, open on the CPU."""
    return GeneratorSession(tiny_generator_onnx, provider="cpu", threads=1)
