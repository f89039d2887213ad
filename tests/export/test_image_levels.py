"""Grey levels in the graph, against Python's own rounding."""

import numpy as np
import onnx
import pytest
from onnx import parser

from export.image_levels import add_image_levels
from handlers.session import import_onnxruntime, to_uint8

GRAPH = """
<ir_version: 10, opset_import: ["": 18]>
sngan_generator (float[batch, {channels}, 2, 3] z) => (float[batch, {channels}, 2, 3] image) {{ image = Identity(z) }}
"""


def levels_of(images: np.ndarray) -> list[np.ndarray]:
    """Both outputs for images that the graph passes through."""
    model = add_image_levels(parser.parse_model(GRAPH.format(channels=images.shape[1])))
    onnx.checker.check_model(model, full_check=True)
    session = import_onnxruntime().InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    outputs: list[np.ndarray] = session.run(None, {"z": images})
    return outputs


def level_of(value: np.float32) -> int:
    # Python's round is half-even, on the exact value of the float32 product.
    return min(255, max(0, round(float((value + np.float32(1)) * np.float32(127.5)))))


def every_level_and_every_half() -> np.ndarray:
    """Values that hit levels, and halves between them, from below the range to above it: 1044 = 2 · 3 · 3 · 58."""
    return ((np.arange(1044) / 2 - 5) / 127.5 - 1).astype(np.float32)


@pytest.mark.parametrize("channels", [1, 3])
def test_levels_are_rounded_half_to_even_and_clipped(channels: int) -> None:
    values = every_level_and_every_half()
    exact = (values + np.float32(1)) * np.float32(127.5)
    assert (exact % 1 == 0.5).sum() > 100, "halves that float32 can say are what the rule is about"
    image, levels = levels_of(values.reshape(-1, channels, 2, 3))
    np.testing.assert_array_equal(image, values.reshape(-1, channels, 2, 3))
    expected = np.array([level_of(value) for value in values]).reshape(-1, channels, 2, 3)
    assert levels.dtype == np.uint8
    np.testing.assert_array_equal(levels, expected.transpose(0, 2, 3, 1))
    assert {0, 255} <= set(levels.ravel().tolist())


def test_levels_are_those_of_the_handler() -> None:
    images = np.tanh(np.random.default_rng(0).standard_normal((50, 3, 2, 3), dtype=np.float32) * 2)
    np.testing.assert_array_equal(levels_of(images)[1], to_uint8(images))


def test_the_output_is_declared_as_the_architecture_says() -> None:
    given = parser.parse_model(GRAPH.format(channels=3))
    model = add_image_levels(given)
    assert [output.name for output in given.graph.output] == ["image"]
    assert [output.name for output in model.graph.output] == ["image", "image_u8"]
    declared = model.graph.output[1].type.tensor_type
    assert declared.elem_type == onnx.TensorProto.UINT8
    assert [dim.dim_param or dim.dim_value for dim in declared.shape.dim] == ["batch", 2, 3, 3]
