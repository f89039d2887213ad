"""A block's shortcut as the official code writes it, against torch."""

from collections.abc import Callable

import numpy as np
import onnx
import torch
from torch.nn import functional

from export.rewrite.shortcut_before_upsampling import SHORTCUT_BEFORE_UPSAMPLING

Prove = Callable[..., onnx.ModelProto]
Stays = Callable[..., None]

RESIZE = 'Resize <mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor">'
SIGNATURE = "(float[batch, 2, 4, 6] x) => (float[batch, 3, 8, 12] y) <float[4] scales = {1, 1, 2, 2}>"


def given(random: np.random.Generator) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Constants, x, and the shortcut of x."""
    constants = {
        "w": random.standard_normal((3, 2, 1, 1), dtype=np.float32),
        "bias": random.standard_normal(3, dtype=np.float32),
    }
    x = random.standard_normal((2, 2, 4, 6), dtype=np.float32)
    weight, bias = (torch.from_numpy(constants[name]) for name in ("w", "bias"))
    upsampled = functional.interpolate(torch.from_numpy(x), scale_factor=2.0, mode="nearest")
    return constants, x, functional.conv2d(upsampled, weight, bias).numpy()


def test_the_convolution_comes_first(prove: Prove, random: np.random.Generator) -> None:
    constants, x, expected = given(random)
    text = f"{SIGNATURE} {{ u = {RESIZE} (x, , scales)  y = Conv (u, w, bias) }}"
    after = prove(SHORTCUT_BEFORE_UPSAMPLING, text, constants, {"x": x}, expected)
    assert [node.op_type for node in after.graph.node] == ["Conv", "Resize"]
    assert after.graph.node[-1].output == ["y"]


def test_the_convolution_comes_first_in_the_middle_of_a_graph(prove: Prove, random: np.random.Generator) -> None:
    constants, x, expected = given(random)
    text = f"{SIGNATURE} {{ p = Neg(x)  u = {RESIZE} (p, , scales)  c = Conv (u, w, bias)  y = Tanh(c) }}"
    shift = constants["bias"][:, None, None]
    expected = np.tanh(2 * shift - expected)
    after = prove(SHORTCUT_BEFORE_UPSAMPLING, text, constants, {"x": x}, expected)
    assert [node.op_type for node in after.graph.node] == ["Neg", "Conv", "Resize", "Tanh"]


def test_an_upsampled_image_with_another_reader_stays(stays: Stays, random: np.random.Generator) -> None:
    text = f"{SIGNATURE} {{ u = {RESIZE} (x, , scales)  c = Conv (u, w, bias)  d = Conv (u, w)  y = Add(c, d) }}"
    stays(SHORTCUT_BEFORE_UPSAMPLING, text, given(random)[0])


def test_another_nearest_neighbour_stays(stays: Stays, random: np.random.Generator) -> None:
    """Rounding up at asymmetric coordinates takes the pixel beside: not each pixel twice."""
    text = f"{SIGNATURE} {{ u = {RESIZE.replace('floor', 'ceil')} (x, , scales)  y = Conv (u, w, bias) }}"
    stays(SHORTCUT_BEFORE_UPSAMPLING, text, given(random)[0])
