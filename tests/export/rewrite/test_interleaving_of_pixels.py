"""Pixels in ONNX's order against torch's pixel shuffle."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
import torch
from torch.nn import functional

from export.rewrite.interleaving_of_pixels import INTERLEAVING_OF_PIXELS

Prove = Callable[..., onnx.ModelProto]
Stays = Callable[..., None]


def interleaved(stacked: np.ndarray) -> np.ndarray:
    """ONNX's DCR order, which is not torch's: the place in the block is the slowest part of the channel's number."""
    images, channels, height, width = stacked.shape
    in_torch_order = torch.from_numpy(stacked).view(images, 4, channels // 4, height, width).transpose(1, 2)
    return functional.pixel_shuffle(in_torch_order.reshape(stacked.shape), 2).numpy()


def test_pixels_are_interleaved_as_values_are(prove: Prove, random: np.random.Generator) -> None:
    text = "(float[batch, 12, 2, 5] a) => (float[batch, 3, 4, 10] y) { y = DepthToSpace <blocksize = 2> (a) }"
    a = random.standard_normal((2, 12, 2, 5), dtype=np.float32)
    after = prove(INTERLEAVING_OF_PIXELS, text, {}, {"a": a}, interleaved(a))
    assert [node.op_type for node in after.graph.node] == ["Transpose", "Reshape", "Transpose", "Reshape", "Transpose"]


@pytest.mark.parametrize(
    "attributes", [pytest.param('blocksize = 2, mode = "CRD"', id="CRD"), pytest.param("blocksize = 1", id="no block")]
)
def test_another_interleaving_stays(attributes: str, stays: Stays) -> None:
    output = "3, 4, 10" if "2" in attributes else "12, 2, 5"
    text = f"(float[batch, 12, 2, 5] a) => (float[batch, {output}] y) {{ y = DepthToSpace <{attributes}> (a) }}"
    stays(INTERLEAVING_OF_PIXELS, text, {})
