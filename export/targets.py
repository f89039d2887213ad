"""The graph for the runtime that will execute it; every target is the same function."""

from __future__ import annotations

from typing import Any

import onnx
import onnx_ir as ir

from export.errors import ExportError
from export.image_levels import add_image_levels
from export.rewrite.batch_norm_neighbour import BATCH_NORM_NEIGHBOUR
from export.rewrite.class_tables import CLASS_TABLES
from export.rewrite.rewriting import Rewrite, apply_everywhere
from export.rewrite.shortcut_before_upsampling import SHORTCUT_BEFORE_UPSAMPLING
from export.rewrite.transposed_as_phases import TRANSPOSED_AS_PHASES
from export.rewrite.upsampling_as_phases import UPSAMPLING_AS_PHASES
from export.rewrite.upsampling_as_transposed import UPSAMPLING_AS_TRANSPOSED

PORTABLE = "portable"
EVERYWHERE: tuple[Rewrite[Any], ...] = (CLASS_TABLES, BATCH_NORM_NEIGHBOUR, SHORTCUT_BEFORE_UPSAMPLING)
REWRITES: dict[str, tuple[Rewrite[Any], ...]] = {
    "cpu": (*EVERYWHERE, UPSAMPLING_AS_PHASES, TRANSPOSED_AS_PHASES),
    "gpu": (*EVERYWHERE, UPSAMPLING_AS_TRANSPOSED),  # not yet run on a GPU
    PORTABLE: (),
}
TARGETS: tuple[str, ...] = tuple(REWRITES)


def graph_for(target: str, portable: onnx.ModelProto) -> tuple[onnx.ModelProto, dict[str, int]]:
    """The graph of `target` that equals `portable`, and how often each rewrite applied, by its name."""
    if target not in REWRITES:
        raise ExportError(f"unknown target {target!r}; one of {', '.join(TARGETS)}")
    if target == PORTABLE:
        return portable, {}
    model = ir.from_proto(portable)
    counts = {rewrite.name: apply_everywhere(rewrite, model) for rewrite in REWRITES[target]}
    rewritten = ir.to_proto(model)
    del rewritten.graph.value_info[:]  # consumers infer their own
    return add_image_levels(rewritten), counts
