"""The second output: grey levels, ready to be sent."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

IMAGE, IMAGE_LEVELS = "image", "image_u8"


def add_image_levels(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of `model` with output 1 `image_u8`: uint8 (batch, height, width, channels).

    It is clip(round-half-even((image + 1) · 127.5), 0, 255), in float32 and in this order, as
    `handlers.session.to_uint8` computes it. A server that asks for it alone copies a quarter of the bytes and does no
    arithmetic.

    `model` has the one output `image`, float32 (batch, channels, height, width) in [-1, 1].
    """
    (image,) = model.graph.output
    assert image.name == IMAGE
    batch, channels, height, width = image.type.tensor_type.shape.dim
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    for name, value in (("one", 1.0), ("half_range", 127.5), ("darkest", 0.0), ("lightest", 255.0)):
        graph.initializer.append(numpy_helper.from_array(np.array(value, np.float32), f"{IMAGE_LEVELS}.{name}"))
    steps: tuple[tuple[str, tuple[str, ...], str | None, dict[str, Any]], ...] = (
        ("Add", (IMAGE, "one"), "from_zero", {}),
        ("Mul", ("from_zero", "half_range"), "scaled", {}),
        ("Round", ("scaled",), "rounded", {}),
        ("Clip", ("rounded", "darkest", "lightest"), "clipped", {}),
        ("Cast", ("clipped",), "levels", {"to": onnx.TensorProto.UINT8}),
        ("Transpose", ("levels",), None, {"perm": [0, 2, 3, 1]}),
    )
    for operation, inputs, output, attributes in steps:
        names = [name if name == IMAGE else f"{IMAGE_LEVELS}.{name}" for name in inputs]
        produced = IMAGE_LEVELS if output is None else f"{IMAGE_LEVELS}.{output}"
        node = helper.make_node(operation, names, [produced], name=f"node_{produced}", **attributes)
        graph.node.append(node)
    levels = graph.output.add()
    levels.name = IMAGE_LEVELS
    levels.type.tensor_type.elem_type = onnx.TensorProto.UINT8
    levels.type.tensor_type.shape.dim.extend([batch, height, width, channels])
    return result
