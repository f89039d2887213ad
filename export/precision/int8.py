"""float32 graph → the same with its convolutions in 8-bit integers, for CPUs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import onnx
import onnx_ir as ir

from export.precision.budgets import INT8_PSNR_DB
from export.precision.calibration import CALIBRATION_IMAGES, calibrate
from export.precision.layers import find_layers
from export.precision.number_format import NumberFormat, numbers_of_this_machine
from export.precision.quantize import quantize_layers
from export.precision.sensitivity import SEARCH_IMAGES, Choice, choose_layers
from export.precision.tidying import tidy, with_named_nodes
from handlers.metadata import GeneratorMetadata


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Int8:
    """The graph, and how it was made.

    Attributes:
        model: None where no layer can be in 8 bits, or none within the budget.
        numbers: the integers used.
        calibration_images: pictures that the ranges are of.
        choice: the layers and what each does; None where there is none to choose from.
    """

    model: onnx.ModelProto | None
    numbers: NumberFormat
    calibration_images: int
    choice: Choice | None

    @property
    def reason(self) -> str | None:
        """Why there is no model."""
        if self.model is not None:
            return None
        if self.choice is None:
            return "the graph has no convolution that ONNX Runtime computes in 8-bit numbers"
        return "no layer is near enough to float32 in 8-bit numbers"

    def to_dict(self) -> dict[str, Any]:
        """For the report; a PSNR of None is an infinite one."""
        layers = self.choice.effects if self.choice else ()
        return {
            "numbers": self.numbers.name,
            "ranges": "smallest and largest value",
            "calibration_images": self.calibration_images,
            "search_images": self.choice.num_images if self.choice else 0,
            "psnr_db_in_the_search": _finite(self.choice.psnr_db) if self.choice else None,
            "layers": [
                {
                    "name": layer.name,
                    "quantized": layer.quantized,
                    "share_of_multiply_adds": round(layer.share_of_multiply_adds, 4),
                    "psnr_db_alone": _finite(layer.psnr_db),
                }
                for layer in layers
            ],
        }


def to_int8(
    model: onnx.ModelProto,
    metadata: GeneratorMetadata,
    *,
    numbers: NumberFormat | None = None,
    calibration_images: int = CALIBRATION_IMAGES,
    search_images: int = SEARCH_IMAGES,
    budget_db: float = INT8_PSNR_DB,
    say: Callable[[str], None] = lambda text: None,
) -> Int8:
    """The graph of `model` with as many convolutions in 8-bit integers as the budget allows.

    Static ranges, from latents as the server draws them; a scale of its own for each output channel's weights. What
    lies between convolutions (the class's multiply-add, the residual sum, the first linear layer, the tanh) stays in
    float32. Inputs, outputs and metadata are those of `model`, which is not changed. On one machine, equal graphs give
    equal bytes.

    Args:
        model: a float32 graph of any target.
        metadata: its latents, classes and truncation.
        numbers: None takes `numbers_of_this_machine`.
        calibration_images: pictures drawn for the ranges.
        search_images: pictures drawn for choosing the layers.
        budget_db: PSNR against float32 that the choice aims at, with a margin.
        say: gets a line for every layer that is left out.

    Raises:
        ExportError: ONNX Runtime does not run a graph.
    """
    numbers = numbers or numbers_of_this_machine()
    inferred = onnx.shape_inference.infer_shapes(with_named_nodes(model))
    layers = find_layers(ir.from_proto(inferred))
    if not layers:
        return Int8(model=None, numbers=numbers, calibration_images=0, choice=None)
    values = {value.name for layer in layers for value in (layer.source, layer.output) if value.name is not None}
    ranges = calibrate(inferred, values, metadata, calibration_images)

    def quantize(names: Sequence[str]) -> onnx.ModelProto:
        copy = ir.from_proto(inferred)
        quantize_layers(copy, [layer for layer in find_layers(copy) if layer.name in names], ranges, numbers)
        quantized = ir.to_proto(copy)
        tidy(quantized, like=model)
        return quantized

    choice = choose_layers(model, layers, quantize, metadata, budget_db=budget_db, num_images=search_images, say=say)
    result = quantize(choice.quantized) if choice.quantized else None
    if result is not None:
        onnx.checker.check_model(result, full_check=True)
    return Int8(model=result, numbers=numbers, calibration_images=calibration_images, choice=choice)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
