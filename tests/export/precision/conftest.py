"""Tiny generators as float32 graphs with their metadata: a residual network and a plain one, each in several forms."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from export.fold import fold_spectral_norm
from export.metadata import generator_metadata
from export.onnx_writer import generator_to_onnx
from export.targets import graph_for
from handlers.metadata import METADATA_KEY, GeneratorMetadata
from sngan_train.checkpoint import open_checkpoint

Graph = tuple[onnx.ModelProto, GeneratorMetadata]


def portable_graph(run: Path) -> Graph:
    """A graph that has its metadata inside, and another entry that must survive too."""
    checkpoint = open_checkpoint(run)
    folded = fold_spectral_norm(checkpoint.load_generator_ema(), checkpoint.config, len(checkpoint.class_names))
    model, metadata = generator_to_onnx(folded), generator_metadata(checkpoint, "1.0")
    onnx.helper.set_model_props(model, {METADATA_KEY: metadata.to_json(), "licence": "of somebody"})
    return model, metadata


@pytest.fixture(scope="session")
def portable(tiny_run: Path) -> Graph:
    """Residual, 3 classes, grey, 16 pixels: Resize, Gather, BatchNormalization."""
    return portable_graph(tiny_run)


@pytest.fixture(scope="session")
def for_integers(portable: Graph) -> Graph:
    """The same with phases: Concat, DepthToSpace, and the output `image_u8`."""
    return graph_for("cpu", portable[0], "int8")[0], portable[1]


@pytest.fixture(scope="session")
def cpu(portable: Graph) -> Graph:
    """The same as float32 runs fastest."""
    return graph_for("cpu", portable[0])[0], portable[1]


@pytest.fixture(scope="session")
def gpu(portable: Graph) -> Graph:
    """The same with transposed convolutions."""
    return graph_for("gpu", portable[0])[0], portable[1]


@pytest.fixture(scope="session")
def cnn(tiny_cnn_run: Path) -> Graph:
    """Plain, without classes, RGB, uniform latents, 32 pixels: ConvTranspose."""
    return portable_graph(tiny_cnn_run)


@pytest.fixture(scope="session")
def cnn_for_integers(cnn: Graph) -> Graph:
    """The same with phases, and the output `image_u8`."""
    return graph_for("cpu", cnn[0], "int8")[0], cnn[1]


@pytest.fixture(scope="session", params=["portable", "for_integers", "cpu", "gpu", "cnn", "cnn_for_integers"])
def any_graph(request: pytest.FixtureRequest) -> Graph:
    """Each of them."""
    graph: Graph = request.getfixturevalue(request.param)
    return graph
