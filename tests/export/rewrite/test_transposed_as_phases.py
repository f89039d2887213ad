"""Transposed convolutions before and after, against torch's."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
import torch
from torch.nn import functional

from export.rewrite.transposed_as_phases import TRANSPOSED_AS_PHASES

Prove = Callable[..., onnx.ModelProto]
Stays = Callable[..., None]

TEXT = """(float[batch, 2, 3, 5] x) => (float[batch, 3, {height}, {width}] y) {{
    y = ConvTranspose <pads = [{pad}, {pad}, {pad}, {pad}], strides = [2, 2]> ({inputs})
}}"""


@pytest.fixture
def given(random: np.random.Generator) -> dict[str, np.ndarray]:
    shapes = {"x": (2, 2, 3, 5), "w": (2, 3, 4, 4), "bias": (3,)}
    return {name: random.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()}


@pytest.mark.parametrize("names", [("w",), ("w", "bias")], ids=["no bias", "bias"])
def test_four_convolutions_are_the_same_function(names: tuple[str, ...], prove: Prove, given: dict) -> None:
    x, *constants = (torch.from_numpy(given[name]) for name in ("x", *names))
    expected = functional.conv_transpose2d(x, *constants, stride=2, padding=1).numpy()
    text = TEXT.format(height=6, width=10, pad=1, inputs=", ".join(("x", *names)))
    after = prove(TRANSPOSED_AS_PHASES, text, {name: given[name] for name in names}, {"x": given["x"]}, expected)
    assert [node.op_type for node in after.graph.node] == ["Conv"] * 4 + ["Concat", "DepthToSpace"]
    weights = sum(int(np.prod(constant.dims)) for constant in after.graph.initializer if len(constant.dims) == 4)
    assert weights == given["w"].size, "the same weights in another order"


def test_another_padding_stays(stays: Stays, given: dict) -> None:
    stays(TRANSPOSED_AS_PHASES, TEXT.format(height=8, width=12, pad=0, inputs="x, w"), {"w": given["w"]})
