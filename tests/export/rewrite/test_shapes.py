"""The batch is one batch everywhere, and no more is said than is needed for that."""

from collections.abc import Callable

import onnx
from onnx import shape_inference

from export.rewrite.shapes import with_batch_named, with_shapes

MakeGraph = Callable[..., onnx.ModelProto]

TEXT = """(float[batch, 12] z) => (float[batch, 3, 4, 4] y)
<int64[4] shape = {-1, 3, 2, 2}, float[4] scales = {1, 1, 2, 2}> {
    a = Relu(z)
    b = Reshape(a, shape)
    c = Relu(b)
    d = Resize <mode = "nearest"> (c, , scales)
    y = Relu(d)
}"""


def dimensions(model: onnx.ModelProto) -> dict[str, list[int | str]]:
    return {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in model.graph.value_info
    }


def test_every_value_has_the_batch(make_graph: MakeGraph) -> None:
    given = make_graph(TEXT, {})
    assert dimensions(shape_inference.infer_shapes(given))["d"][0] != "batch", "what this module is for"
    found = dimensions(with_shapes(given, "batch"))
    computed = {"a": ["batch", 12], "b": ["batch", 3, 2, 2], "c": ["batch", 3, 2, 2], "d": ["batch", 3, 4, 4]}
    assert {name: found[name] for name in computed} == computed


def test_only_what_loses_the_batch_is_declared(make_graph: MakeGraph) -> None:
    given = make_graph(TEXT, {})
    assert dimensions(with_batch_named(given, "batch")) == {"b": ["batch", 3, 2, 2], "d": ["batch", 3, 4, 4]}
    assert dimensions(given) == {}
