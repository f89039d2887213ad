"""The interleaving of four phases moves whole pixels, with all their channels, instead of single values.

DepthToSpace moves values one at a time where channels come first. Where they come last, (N, H, W, 4C) with phase (a, b)
at the channels (2a + b) · C and on, two pixels of a row lie side by side already, and what is left is to put the upper
and the lower row one after the other: runs of 2C values.

    (N, 4C, H, W) → (N, H, W, 2, 2C) → (N, H, 2, W, 2C) = (N, 2H, 2W, C) → (N, C, 2H, 2W)

ONNX Runtime's convolutions read and write a layout of their own, and go from and to channels last as cheaply as from
and to channels first: beside a convolution the first and the last step cost nothing.
"""

from __future__ import annotations

import dataclasses

import onnx_ir as ir

from export.rewrite.building import Replacement
from export.rewrite.reading import integer, is_operation, size, text
from export.rewrite.rewriting import Rewrite

CHANNELS_LAST, CHANNELS_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Interleaving:
    """A DepthToSpace of four phases, `stacked` (N, 4C, H, W), whose output is (N, C, 2H, 2W)."""

    node: ir.Node
    stacked: ir.Value
    num_channels: int
    height: int
    width: int


def applies(node: ir.Node) -> Interleaving | None:
    """Whether `node` interleaves phases that are stacked one after the other, and sizes are known."""
    if not is_operation(node, "DepthToSpace") or integer(node, "blocksize", 0) != 2:
        return None
    stacked, known = node.inputs[0], size(node.outputs[0])
    if stacked is None or known is None or text(node, "mode", "DCR") != "DCR":
        return None
    channels, height, width = known
    return Interleaving(node=node, stacked=stacked, num_channels=channels, height=height // 2, width=width // 2)


def rewrite(match: Interleaving) -> None:
    """Channels last, rows one after the other, channels first."""
    new = Replacement(match.node)
    channels, height, width = match.num_channels, match.height, match.width
    last = new.node("Transpose", [match.stacked], "channels_last", {"perm": CHANNELS_LAST})
    shape = new.integers((0, height, width, 2, 2 * channels), "rows_apart")
    rows = new.node("Reshape", [last, shape], "rows", {"allowzero": 0})
    rows = new.node("Transpose", [rows], "rows_in_turn", {"perm": (0, 1, 3, 2, 4)})
    shape = new.integers((0, 2 * height, 2 * width, channels), "rows_together")
    pixels = new.node("Reshape", [rows, shape], "pixels", {"allowzero": 0})
    new.finish(new.node("Transpose", [pixels], "channels_first", {"perm": CHANNELS_FIRST}))


INTERLEAVING_OF_PIXELS = Rewrite(name="interleaving_of_pixels", applies=applies, rewrite=rewrite)
