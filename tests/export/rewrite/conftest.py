"""One proof for every rewrite: a small graph, before and after, in ONNX Runtime, against a formula of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper, parser

from export.rewrite.rewriting import Rewrite, apply_everywhere
from export.rewrite.shapes import with_shapes
from handlers.session import import_onnxruntime

Arrays = Mapping[str, NDArray[Any]]
MakeGraph = Callable[[str, Arrays], onnx.ModelProto]
Prove = Callable[..., onnx.ModelProto]
Stays = Callable[[Rewrite[Any], str, Arrays], None]

TOLERANCE = 1e-5  # float32 sums of tens of values of size 1, in another order


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def make_graph() -> MakeGraph:
    """A valid model of the text of a graph, `(inputs) => (outputs) { nodes }`, and its constants."""

    def make(text: str, constants: Arrays) -> onnx.ModelProto:
        model = parser.parse_model(f'<ir_version: 10, opset_import: ["": 18]>\ngraph {text}')
        for name, array in constants.items():
            model.graph.initializer.append(numpy_helper.from_array(array, name))
        onnx.checker.check_model(model, full_check=True)
        return model

    return make


@pytest.fixture
def prove(make_graph: MakeGraph) -> Prove:
    """`prove(rewrite, text, constants, feed, expected, times=1)`: the rewritten model.

    The graph gives `expected` before and after; the rewrite applies `times`; what it was given is not changed, and
    what nobody reads is gone.
    """

    def prove_equal(
        rewrite: Rewrite[Any],
        text: str,
        constants: Arrays,
        feed: Arrays,
        expected: NDArray[np.float32],
        times: int = 1,
    ) -> onnx.ModelProto:
        given = make_graph(text, constants)
        content = given.SerializeToString(deterministic=True)
        graph = ir.from_proto(with_shapes(given, "batch"))
        assert apply_everywhere(rewrite, graph) == times
        rewritten = ir.to_proto(graph)
        del rewritten.graph.value_info[:]
        assert given.SerializeToString(deterministic=True) == content
        onnx.checker.check_model(rewritten, full_check=True)
        read = {name for node in rewritten.graph.node for name in node.input}
        assert {constant.name for constant in rewritten.graph.initializer} <= read
        for model in (given, rewritten):
            np.testing.assert_allclose(_run(model, feed), expected, atol=TOLERANCE, rtol=0)
        return rewritten

    return prove_equal


@pytest.fixture
def stays(make_graph: MakeGraph) -> Stays:
    """`stays(rewrite, text, constants)`: the rewrite finds nothing in the graph."""

    def find_nothing(rewrite: Rewrite[Any], text: str, constants: Arrays) -> None:
        graph = ir.from_proto(with_shapes(make_graph(text, constants), "batch"))
        nodes = [node.name for node in graph.graph]
        assert apply_everywhere(rewrite, graph) == 0
        assert [node.name for node in graph.graph] == nodes

    return find_nothing


def _run(model: onnx.ModelProto, feed: Arrays) -> NDArray[np.float32]:
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    output: NDArray[np.float32] = session.run(None, dict(feed))[0]
    return output
