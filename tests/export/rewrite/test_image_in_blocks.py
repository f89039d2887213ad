"""The last convolution before and after, against torch."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
import torch
from torch.nn import functional

from export.rewrite.image_in_blocks import IMAGE_IN_BLOCKS

Prove = Callable[..., onnx.ModelProto]
Stays = Callable[..., None]


def text(num_outputs: int, height: int, width: int, inputs: str = "x, w, bias") -> str:
    return f"""(float[batch, 2, {height}, {width}] x) => (float[batch, {num_outputs}, {height}, {width}] y) {{
        y = Conv <pads = [1, 1, 1, 1]> ({inputs})
    }}"""


def given(random: np.random.Generator, num_outputs: int) -> dict[str, np.ndarray]:
    return {
        "w": random.standard_normal((num_outputs, 2, 3, 3), dtype=np.float32),
        "bias": random.standard_normal(num_outputs, dtype=np.float32),
    }


@pytest.mark.parametrize(
    ("num_outputs", "height", "width", "block_side"), [(1, 8, 12, 4), (3, 8, 12, 2), (4, 6, 2, 2), (1, 6, 8, 2)]
)
@pytest.mark.parametrize("names", [("w",), ("w", "bias")], ids=["no bias", "bias"])
def test_blocks_are_the_same_function(
    num_outputs: int,
    height: int,
    width: int,
    block_side: int,
    names: tuple[str, ...],
    prove: Prove,
    random: np.random.Generator,
) -> None:
    constants = {name: array for name, array in given(random, num_outputs).items() if name in names}
    x = random.standard_normal((2, 2, height, width), dtype=np.float32)
    expected = functional.conv2d(*(torch.from_numpy(array) for array in (x, *constants.values())), padding=1).numpy()
    graph = text(num_outputs, height, width, ", ".join(("x", *names)))
    after = prove(IMAGE_IN_BLOCKS, graph, constants, {"x": x}, expected)
    assert [node.op_type for node in after.graph.node] == ["Conv", "DepthToSpace"]
    (side,) = (a.i for a in after.graph.node[1].attribute if a.name == "blocksize")
    assert side == block_side


@pytest.mark.parametrize(
    ("num_outputs", "height", "width"),
    [pytest.param(5, 8, 8, id="too many outputs"), pytest.param(3, 7, 8, id="an odd height")],
)
def test_what_does_not_fit_stays(
    num_outputs: int, height: int, width: int, stays: Stays, random: np.random.Generator
) -> None:
    stays(IMAGE_IN_BLOCKS, text(num_outputs, height, width), given(random, num_outputs))
