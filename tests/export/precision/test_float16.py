from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from export.precision.float16 import to_float16
from export.precision.float16_rounding import rounded_like_float16
from export.precision.serving_draws import Draw, serving_draws
from export.precision.sessions import draw_images, open_session
from handlers.metadata import GeneratorMetadata
from handlers.session import to_uint8

Graph = tuple[onnx.ModelProto, GeneratorMetadata]

# Values in [-1, 1]: 11 bits, rounded a few times, leave some 1e-3 at most; float32 graphs agree to 1e-6.
LARGEST_DIFFERENCE = 5e-3


def first_draw(metadata: GeneratorMetadata, count: int = 16) -> Draw:
    return next(serving_draws(metadata, seed=5, images=range(count), batch=count))


def value_types(model: onnx.ModelProto) -> dict[str, int]:
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    values = (*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output)
    return {value.name: value.type.tensor_type.elem_type for value in values}


def test_the_same_pictures_of_the_same_inputs(any_graph: Graph) -> None:
    model, metadata = any_graph
    converted = to_float16(model)
    onnx.checker.check_model(converted, full_check=True)
    assert list(converted.graph.input) == list(model.graph.input)
    assert list(converted.graph.output) == list(model.graph.output)
    draw = first_draw(metadata)
    expected = draw_images(open_session(model), draw)
    found = draw_images(open_session(converted), draw)
    assert 0.0 < np.abs(found - expected).max() <= LARGEST_DIFFERENCE


def test_the_bytes_of_the_second_output_are_those_of_the_first(cpu: Graph, cnn_for_integers: Graph) -> None:
    for model, metadata in (cpu, cnn_for_integers):
        image, levels = open_session(to_float16(model)).run(["image", "image_u8"], first_draw(metadata).feed)
        assert (levels == to_uint8(image)).all()


def test_everything_but_the_last_layers_is_in_float16(any_graph: Graph) -> None:
    converted = to_float16(any_graph[0])
    types = value_types(converted)
    constants = {tensor.name: tensor.data_type for tensor in converted.graph.initializer}
    convolutions = [node for node in converted.graph.node if node.op_type in ("Conv", "ConvTranspose", "Gemm")]
    *others, last = convolutions
    assert all(constants[name] == TensorProto.FLOAT16 for node in others for name in node.input[1:])
    assert all(types[node.output[0]] == TensorProto.FLOAT16 for node in others)
    assert all(constants[name] == TensorProto.FLOAT for name in last.input[1:])
    behind = converted.graph.node[list(converted.graph.node).index(last) :]
    assert "Tanh" in [node.op_type for node in behind]
    assert not any(types[name] == TensorProto.FLOAT16 for node in behind for name in node.output)
    # One cast in and one before the last layers; none to and fro.
    assert [node.op_type for node in converted.graph.node].count("Cast") - ("image_u8" in types) == 2


def test_a_constant_of_both_ends_stays_exact_behind_the_last_layer() -> None:
    third = 1 / 3  # not a float16
    graph = helper.make_graph(
        [
            helper.make_node("Mul", ["z", "third"], ["a"]),
            helper.make_node("Gemm", ["a", "w"], ["b"]),
            helper.make_node("Mul", ["b", "third"], ["image"]),
        ],
        "g",
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["batch", 2])],
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 2])],
        [
            numpy_helper.from_array(np.float32(third), "third"),
            numpy_helper.from_array(np.eye(2, dtype=np.float32), "w"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    converted = to_float16(model)
    (image,) = open_session(converted).run(None, {"z": np.ones((1, 2), np.float32)})
    expected = np.float32(np.float16(third)) * np.float32(third)
    assert expected != np.float32(np.float16(third)) ** 2
    assert (image == expected).all()


def test_equal_graphs_give_equal_bytes_and_the_graph_is_not_changed(any_graph: Graph) -> None:
    model, _ = any_graph
    before = model.SerializeToString(deterministic=True)
    first, second = (to_float16(model).SerializeToString(deterministic=True) for _ in range(2))
    assert first == second
    assert model.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize("which", ["portable", "cpu", "cnn"])
def test_rounding_is_that_of_true_half_precision(which: str, request: pytest.FixtureRequest) -> None:
    """ONNX's reference implementation computes in NumPy's float16, sums included."""
    model, metadata = request.getfixturevalue(which)
    converted = to_float16(model)
    draw = first_draw(metadata, count=4)
    float32 = draw_images(open_session(model), draw)
    as_cpu_provider = draw_images(open_session(converted), draw) - float32
    rounded = draw_images(open_session(rounded_like_float16(model, converted)), draw) - float32
    reference = ReferenceEvaluator(converted).run(["image"], draw.feed)[0] - float32
    noise = [float(np.sqrt((error**2).mean())) for error in (as_cpu_provider, rounded, reference)]
    assert noise[0] < noise[1] < 1.1 * noise[2]  # float16 sums round more, the CPU provider rounds less
    assert noise[2] < 2.5 * noise[1]


def test_a_value_too_large_for_float16_becomes_infinite(portable: Graph) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(portable[0])
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == "linear.weight")
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(3e5), weight.name))
    draw = first_draw(portable[1])
    assert np.isfinite(draw_images(open_session(model), draw)).all()
    rounded = rounded_like_float16(model, to_float16(model))
    assert not np.isfinite(draw_images(open_session(rounded), draw)).all()
