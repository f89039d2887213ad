"""The ranges that values of a graph take while it serves."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

import numpy as np
import onnx
from onnx import helper

from export.precision.serving_draws import CALIBRATION_SEED, serving_draws
from export.precision.sessions import open_session
from handlers.metadata import GeneratorMetadata

CALIBRATION_IMAGES = 512
IMAGES_A_RUN = 16


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Range:
    """The smallest and the largest value that was met."""

    low: float
    high: float


def calibrate(
    model: onnx.ModelProto, names: Iterable[str], metadata: GeneratorMetadata, num_images: int = CALIBRATION_IMAGES
) -> Mapping[str, Range]:
    """Run `num_images` serving draws, the classes in equal numbers, and note the range of each of the values `names`.

    Two numbers a value and run leave ONNX Runtime, so memory does not grow with the images.

    Args:
        model: a float32 graph.
        names: float32 values inside it.
        metadata: what `model` is, for its latents.
        num_images: more of them meet rarer values.
    """
    wanted = sorted(set(names))
    session = open_session(_with_extremes(model, wanted))
    outputs = [f"{name}.{end}" for name in wanted for end in ("low", "high")]
    found = []
    for draw in serving_draws(metadata, seed=CALIBRATION_SEED, images=range(num_images), batch=IMAGES_A_RUN):
        found.append(np.array(session.run(outputs, draw.feed), dtype=np.float64).reshape(len(wanted), 2))
    ends = np.stack(found)  # (runs, values, 2)
    lows, highs = ends[..., 0].min(axis=0), ends[..., 1].max(axis=0)
    return {name: Range(low=float(low), high=float(high)) for name, low, high in zip(wanted, lows, highs, strict=True)}


def _with_extremes(model: onnx.ModelProto, names: list[str]) -> onnx.ModelProto:
    """A copy with two scalar outputs more for each value: `NAME.low` and `NAME.high`."""
    augmented = onnx.ModelProto()
    augmented.CopyFrom(model)
    graph = augmented.graph
    for name in names:
        for operation, end in (("ReduceMin", "low"), ("ReduceMax", "high")):
            output = f"{name}.{end}"
            graph.node.append(helper.make_node(operation, [name], [output], keepdims=0, name=f"node_{output}"))
            graph.output.append(helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, []))
    return augmented
