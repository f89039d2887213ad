"""A block's last 3×3 convolution computes two rows at once, with four products instead of six.

Minimal filtering (Winograd 1980, F(2, 3); Lavin & Gray 2016), down the rows only. With W0, W1, W2 the kernel's rows,
which are convolutions along a row,

    V0 = x(2i - 1) - x(2i + 1)    V1 = x(2i) + x(2i + 1)       V2 = x(2i + 1) - x(2i)       V3 = x(2i) - x(2i + 2)
    U0 = W0                       U1 = (W0 + W1 + W2) / 2      U2 = (W0 - W1 + W2) / 2      U3 = - W2

    y(2i) = M0 + M1 + M2,    y(2i + 1) = M1 - M2 + M3,    Mk = Uk * Vk.

12 products for two output pixels instead of 18, 4/3 of the weights. What the block adds, the nearest ×2 of its
shortcut s, is alike in both rows: added to M1, it reaches both. The Vk are depthwise convolutions of stride 2 down the
rows, with zeros outside as before. Along both axes it would be 16 products for four pixels instead of 36, but five
times the nodes: measured no faster with two threads.

Differences of neighbours cost a little accuracy in float32, and more in 8 bits.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir as ir

from export.rewrite.building import Replacement
from export.rewrite.reading import Float64s, constant, is_operation, is_private, producer, size
from export.rewrite.rewriting import Rewrite
from export.rewrite.upsampled_convolution import is_plain_convolution, upsampling_by_two

KERNELS = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, -1]])  # U = KERNELS · W


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _RowTransform:
    """Vk: two rows of a pair, so far apart, by two signs, with so many rows of zeros above and below."""

    signs: tuple[float, float]
    apart: int
    above: int
    below: int


ROWS = (
    _RowTransform(signs=(1, -1), apart=2, above=1, below=0),
    _RowTransform(signs=(1, 1), apart=1, above=0, below=0),
    _RowTransform(signs=(-1, 1), apart=1, above=0, below=0),
    _RowTransform(signs=(1, -1), apart=2, above=0, below=1),
)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class BlockEnd:
    """A 3×3 convolution plus the nearest ×2 of a shortcut.

    Attributes:
        total: the node Add.
        x: (N, I, H, W), H even.
        weight: (O, I, 3, 3).
        bias: the graph's constant (O,), or None.
        shortcut: (N, O, H / 2, W / 2).
        width: W.
    """

    total: ir.Node
    x: ir.Value
    weight: Float64s
    bias: ir.Value | None
    shortcut: ir.Value
    width: int


def applies(node: ir.Node) -> BlockEnd | None:
    """Whether `node` is such a sum, nobody else reads its parts, and the width is known."""
    if not is_operation(node, "Add"):
        return None
    for convolved, upsampled in (node.inputs, node.inputs[::-1]):
        convolution, shortcut = producer(convolved, "Conv"), upsampling_by_two(upsampled)
        if convolution is None or shortcut is None or not is_private(convolution.outputs[0]):
            continue
        weight, known = constant(convolution.inputs[1]), size(shortcut)
        bias = convolution.inputs[2] if len(convolution.inputs) == 3 else None
        x = convolution.inputs[0]
        if not is_plain_convolution(convolution, 3) or weight is None or weight.shape[2:] != (3, 3):
            continue
        if x is not None and known is not None and (bias is None or constant(bias) is not None):
            return BlockEnd(total=node, x=x, weight=weight, bias=bias, shortcut=shortcut, width=2 * known[2])
    return None


def rewrite(match: BlockEnd) -> None:
    """Four sums of rows, four products, the two rows of each pair, interleaved."""
    new = Replacement(match.total)
    num_outputs, num_inputs = match.weight.shape[:2]
    kernels = np.einsum("kh,oihw->koiw", KERNELS, match.weight)[:, :, :, None, :]
    products = []
    for k, rows in enumerate(ROWS):
        sums = new.depthwise(
            match.x,
            np.array(rows.signs)[:, None],
            num_inputs,
            f"rows{k}",
            pads=(rows.above, 0, rows.below, 0),
            strides=(2, 1),
            dilations=(rows.apart, 1),
        )
        bias = match.bias if k == 1 else None
        products.append(new.convolution(sums, kernels[k], f"product{k}", bias=bias, pads=(0, 1, 0, 1)))
    first, plus, minus, last = products
    scales = new.floats(np.array([1.0, 1.0, 1.0, 2.0]), "shortcut_scales")
    nearest = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    shortcut = new.node("Resize", [match.shortcut, None, scales], "shortcut", nearest)
    plus = new.node("Add", [plus, shortcut], "with_shortcut")
    # Not Sub: ONNX Runtime adds inside its convolutions, and would leave its blocked layout to subtract.
    negated = new.depthwise(minus, np.array([[-1.0]]), num_outputs, "negated")
    upper = new.node("Add", [first, new.node("Add", [plus, minus], "sum")], "upper")
    lower = new.node("Add", [last, new.node("Add", [negated, plus], "difference")], "lower")
    pairs = new.node("Concat", [upper, lower], "pairs", {"axis": 3})  # (N, O, H / 2, 2W): row 2i, then row 2i + 1
    shape = new.integers((0, 0, -1, match.width), "shape")
    new.finish(new.node("Reshape", [pairs, shape], "rows", {"allowzero": 0}))


CONVOLUTION_BY_ROW_PAIRS = Rewrite(name="convolution_by_row_pairs", applies=applies, rewrite=rewrite)
