"""What a rewrite is, and how one is applied wherever it fits."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Generic, TypeVar

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

Match = TypeVar("Match")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Rewrite(Generic[Match]):
    """One algebraic identity of graphs.

    Attributes:
        name: the file's name; reports count by it.
        applies: what `rewrite` needs to know if the identity holds with this node as its last one, else None; reads.
        rewrite: puts the equal form in the match's place; the replaced value's name goes on. Shared constants are left
            as they are.
    """

    name: str
    applies: Callable[[ir.Node], Match | None]
    rewrite: Callable[[Match], None]


def only_where(pays: Callable[[Match], bool], rewrite: Rewrite[Match]) -> Rewrite[Match]:
    """`rewrite`, where it is equal and also pays: the one is algebra, the other a target's measured choice."""

    def applies(node: ir.Node) -> Match | None:
        match = rewrite.applies(node)
        return match if match is not None and pays(match) else None

    return dataclasses.replace(rewrite, applies=applies)


def apply_everywhere(rewrite: Rewrite[Match], model: ir.Model) -> int:
    """Apply `rewrite` to every node where it fits, first to last; the number of times.

    What nobody uses any more, nodes and constants, is removed after each time, so that "the only user" stays true.
    """
    count = 0
    for node in list(model.graph):
        if node.graph is None:  # an earlier application removed it
            continue
        match = rewrite.applies(node)
        if match is not None:
            rewrite.rewrite(match)
            RemoveUnusedNodesPass()(model)
            count += 1
    return count
