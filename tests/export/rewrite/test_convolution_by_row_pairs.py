"""The end of a residual block before and after, against torch."""

from collections import Counter
from collections.abc import Callable

import numpy as np
import onnx
import pytest
import torch
from torch.nn import functional

from export.rewrite.convolution_by_row_pairs import CONVOLUTION_BY_ROW_PAIRS

Prove = Callable[..., onnx.ModelProto]
Stays = Callable[..., None]

RESIZE = 'Resize <mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor">'
SIGNATURE = "(float[batch, 2, 6, 10] x, float[batch, 3, 3, 5] s) => (float[batch, 3, 6, 10] y)"
TEXT = (
    f"{SIGNATURE} <float[4] scales = {{{{1, 1, 2, 2}}}}> {{{{ c = Conv <pads = [1, 1, 1, 1]> ({{inputs}})  "
    f"u = {RESIZE} (s, , scales)  y = Add({{sum}}) }}}}"
)


@pytest.fixture
def given(random: np.random.Generator) -> dict[str, np.ndarray]:
    shapes = {"x": (2, 2, 6, 10), "s": (2, 3, 3, 5), "w": (3, 2, 3, 3), "bias": (3,)}
    return {name: random.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()}


def in_torch(given: dict[str, np.ndarray], names: tuple[str, ...]) -> np.ndarray:
    x, *constants = (torch.from_numpy(given[name]) for name in ("x", *names))
    shortcut = functional.interpolate(torch.from_numpy(given["s"]), scale_factor=2.0, mode="nearest")
    return (functional.conv2d(x, *constants, padding=1) + shortcut).numpy()


@pytest.mark.parametrize("names", [("w",), ("w", "bias")], ids=["no bias", "bias"])
@pytest.mark.parametrize("operands", ["c, u", "u, c"])
def test_row_pairs_are_the_same_function(names: tuple[str, ...], operands: str, prove: Prove, given: dict) -> None:
    text = TEXT.format(inputs=", ".join(("x", *names)), sum=operands)
    constants = {name: given[name] for name in names}
    feed = {name: given[name] for name in ("x", "s")}
    after = prove(CONVOLUTION_BY_ROW_PAIRS, text, constants, feed, in_torch(given, names))
    counts = Counter(node.op_type for node in after.graph.node)
    assert counts == {"Conv": 4 + 4 + 1, "Resize": 1, "Add": 5, "Concat": 1, "Reshape": 1}
    between_channels = [c for c in after.graph.initializer if len(c.dims) == 4 and c.dims[1] != 1]
    num_weights = sum(int(np.prod(constant.dims)) for constant in between_channels)
    assert num_weights * 3 == given["w"].size * 4, "12 products for two pixels instead of 18"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(
            TEXT.format(inputs="x, w", sum="c, u").replace("y = Add(c, u)", "t = Add(c, u)  y = Add(t, c)"),
            id="the convolution has another reader",
        ),
        pytest.param(
            TEXT.format(inputs="x, w", sum="c, u").replace("y = Add(c, u)", "t = Add(c, u)  y = Add(t, u)"),
            id="the upsampled shortcut has another reader",
        ),
        pytest.param(TEXT.format(inputs="x, w", sum="u, u"), id="no convolution"),
        pytest.param(TEXT.format(inputs="x, w", sum="c, c"), id="no shortcut"),
    ],
)
def test_what_does_not_fit_stays(text: str, stays: Stays, given: dict) -> None:
    stays(CONVOLUTION_BY_ROW_PAIRS, text, {"w": given["w"]})
