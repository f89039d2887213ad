"""The graph for the runtime that will execute it; every target is the same function.

`cpu` is for ONNX Runtime's CPU provider, which computes convolutions in a blocked layout of its own, 16 channels at a
time, close to what the processor can: so it takes the forms with the fewest products, added up inside convolutions, and
what is between them in the fewest passes. The choices below were measured (`benchmarks/graph_targets.py`).

`gpu` is for CUDA and TensorRT, whose libraries have kernels for transposed convolutions, and has not yet been run on a
GPU. OpenVINO runs it faster than the others.

`portable` is the exporter's graph as it is.
"""

from __future__ import annotations

from typing import Any

import onnx
import onnx_ir as ir

from export.errors import ExportError
from export.image_levels import add_image_levels
from export.rewrite.batch_norm_neighbour import BATCH_NORM_NEIGHBOUR
from export.rewrite.class_tables import CLASS_TABLES
from export.rewrite.convolution_by_row_pairs import CONVOLUTION_BY_ROW_PAIRS, BlockEnd
from export.rewrite.image_in_blocks import IMAGE_IN_BLOCKS, OUTPUTS_AT_A_TIME
from export.rewrite.interleaving_of_pixels import INTERLEAVING_OF_PIXELS, Interleaving
from export.rewrite.rewriting import Rewrite, apply_everywhere, only_where
from export.rewrite.shapes import with_batch_named, with_shapes
from export.rewrite.shortcut_before_upsampling import SHORTCUT_BEFORE_UPSAMPLING
from export.rewrite.transposed_as_phases import TRANSPOSED_AS_PHASES
from export.rewrite.upsampled_convolution import UpsampledConvolution
from export.rewrite.upsampling_as_phases import UPSAMPLING_AS_PHASES
from export.rewrite.upsampling_as_shared_products import UPSAMPLING_AS_SHARED_PRODUCTS
from export.rewrite.upsampling_as_shared_rows import UPSAMPLING_AS_SHARED_ROWS
from export.rewrite.upsampling_as_transposed import UPSAMPLING_AS_TRANSPOSED

CPU, GPU, PORTABLE = "cpu", "gpu", "portable"
TARGETS: tuple[str, ...] = (CPU, GPU, PORTABLE)
FLOAT32, INT8 = "float32", "int8"
BATCH = "batch"  # what the exporter calls it

# From so many inputs and outputs on, the products that a form saves outweigh the nodes that it adds.
ROW_PAIRS_FROM, SHARED_PRODUCTS_FROM = 128, 256


def _row_pairs_pay(match: BlockEnd) -> bool:
    return bool(min(match.weight.shape[:2]) >= ROW_PAIRS_FROM)


def _shared_products_pay(match: UpsampledConvolution) -> bool:
    return bool(min(match.weight.shape[:2]) >= SHARED_PRODUCTS_FROM)


def _in_blocked_layout(match: Interleaving) -> bool:
    """Elsewhere the two transpositions are real ones."""
    return match.num_channels % OUTPUTS_AT_A_TIME == 0


EVERYWHERE: tuple[Rewrite[Any], ...] = (CLASS_TABLES, BATCH_NORM_NEIGHBOUR, SHORTCUT_BEFORE_UPSAMPLING)
# In 8 bits, differences of values cost accuracy (measured at 256 channels: 0.7 dB with shared rows, 2 dB with all
# forms), and row pairs time as well: only weights are added up.
FOR_INTEGERS: tuple[Rewrite[Any], ...] = (*EVERYWHERE, UPSAMPLING_AS_PHASES, TRANSPOSED_AS_PHASES)
FOR_CPU: tuple[Rewrite[Any], ...] = (
    *EVERYWHERE,
    only_where(_row_pairs_pay, CONVOLUTION_BY_ROW_PAIRS),
    only_where(_shared_products_pay, UPSAMPLING_AS_SHARED_PRODUCTS),
    UPSAMPLING_AS_SHARED_ROWS,
    TRANSPOSED_AS_PHASES,
    IMAGE_IN_BLOCKS,
    only_where(_in_blocked_layout, INTERLEAVING_OF_PIXELS),
)
FOR_GPU: tuple[Rewrite[Any], ...] = (*EVERYWHERE, UPSAMPLING_AS_TRANSPOSED)


def graph_for(
    target: str, portable: onnx.ModelProto, precision: str = FLOAT32
) -> tuple[onnx.ModelProto, dict[str, int]]:
    """The graph of `target` that equals `portable`, and how often each rewrite applied, by its name.

    It is in float32 whatever the `precision`, which says what it will be converted to: for "int8" the graph for the CPU
    leaves out what computes with differences of values. Equal graphs give equal bytes. The graphs for `cpu` and `gpu`
    have the second output `image_u8`.

    Raises ExportError for an unknown target.
    """
    if target not in TARGETS:
        raise ExportError(f"unknown target {target!r}; one of {', '.join(TARGETS)}")
    if target == PORTABLE:
        return portable, {}
    if target == GPU:
        model, counts = rewritten(portable, FOR_GPU)
    elif precision == INT8:
        model, counts = rewritten(portable, FOR_INTEGERS)
    else:
        model, counts = rewritten(portable, FOR_CPU)
        model = with_batch_named(model, BATCH)
    return add_image_levels(model), counts


def rewritten(portable: onnx.ModelProto, rewrites: tuple[Rewrite[Any], ...]) -> tuple[onnx.ModelProto, dict[str, int]]:
    """`portable` after all `rewrites`, and how often each applied, by its name."""
    model = ir.from_proto(with_shapes(portable, BATCH))
    counts = {rewrite.name: apply_everywhere(rewrite, model) for rewrite in rewrites}
    result = ir.to_proto(model)
    del result.graph.value_info[:]  # of values that were before
    return result, counts
