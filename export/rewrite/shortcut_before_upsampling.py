"""A 1×1 convolution moves before the nearest upsampling: the same values for a quarter of the products.

It treats every pixel alike and the upsampling only repeats pixels, so W * up(x) + b = up(W * x + b). Our own networks
already compute their shortcuts so, and the rewrite finds nothing in their graphs; it is for graphs of plainer
definitions of the same networks.
"""

from __future__ import annotations

import dataclasses

import onnx_ir as ir

from export.rewrite.building import take_over
from export.rewrite.reading import constant
from export.rewrite.rewriting import Rewrite
from export.rewrite.upsampled_convolution import is_plain_convolution, upsampling_by_two


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class LateShortcut:
    """A nearest ×2 of `x`, read by a 1×1 convolution alone."""

    upsampling: ir.Node
    convolution: ir.Node
    x: ir.Value


def applies(node: ir.Node) -> LateShortcut | None:
    """Whether `node` is a 1×1 convolution with a constant weight, of an upsampled image that nobody else reads."""
    weight = constant(node.inputs[1]) if is_plain_convolution(node, 1) else None
    if weight is None or weight.shape[2:] != (1, 1):
        return None
    x = upsampling_by_two(node.inputs[0])
    upsampling = node.inputs[0].producer() if node.inputs[0] is not None else None
    if x is None or upsampling is None:
        return None
    return LateShortcut(upsampling=upsampling, convolution=node, x=x)


def rewrite(match: LateShortcut) -> None:
    """The two nodes change places."""
    graph = match.convolution.graph
    assert graph is not None
    upsampling, convolution = match.upsampling, match.convolution
    upsampled, convolved = upsampling.outputs[0], convolution.outputs[0]
    name = upsampled.name
    take_over(upsampled, convolved)
    convolved.name, convolved.shape = name, None
    convolution.replace_input_with(0, match.x)
    upsampling.replace_input_with(0, convolved)
    graph.remove(upsampling)
    graph.insert_after(convolution, upsampling)


SHORTCUT_BEFORE_UPSAMPLING = Rewrite(name="shortcut_before_upsampling", applies=applies, rewrite=rewrite)
