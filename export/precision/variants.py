"""One precision of a generator: made, judged, and either handed over with its metadata or refused with reasons."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import onnx

from export.errors import OptionError
from export.precision.budgets import FLOAT16_PSNR_DB
from export.precision.float16 import to_float16
from export.precision.float16_rounding import rounded_like_float16
from export.precision.gate import GATE_IMAGES, Gate
from export.precision.gate_result import GateResult
from export.precision.int8 import to_int8
from export.precision.judges import RealImages
from export.precision.sessions import open_session
from handlers.metadata import METADATA_KEY, GeneratorMetadata

# The command line's word → the metadata's.
PRECISIONS = {"fp32": "float32", "fp16": "float16", "int8": "int8"}

Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """One precision.

    Attributes:
        precision: "float32", "float16" or "int8".
        metadata: the generator's, with this precision; inside `model` too.
        model: to be written; None if the variant is refused.
        gate: None for float32, and where there was nothing to compare.
        reasons: why there is no model, in plain words; empty if there is one.
        details: how it was made, for the report.
    """

    precision: str
    metadata: GeneratorMetadata
    model: onnx.ModelProto | None
    gate: GateResult | None
    reasons: tuple[str, ...]
    details: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """For the report."""
        return {
            "precision": self.precision,
            "written": self.model is not None,
            "reasons": list(self.reasons),
            "gate": self.gate.to_dict() if self.gate else None,
            **self.details,
        }


def make_variant(
    precision: str,
    float32: onnx.ModelProto,
    *,
    metadata: GeneratorMetadata,
    gate: Gate | None = None,
    num_images: int = GATE_IMAGES,
    real: RealImages | None = None,
    say: Say = lambda text: None,
) -> Variant:
    """Convert `float32`, which is not changed, and put the result through the gate.

    Args:
        precision: a key of PRECISIONS.
        float32: the graph of any target.
        metadata: what `float32` is; `default_truncation` and the latents' distribution decide what is drawn.
        gate: of the same graph and metadata, to share its float32 pictures between precisions; None makes one.
        num_images: of the gate that is made.
        real: of the gate that is made.
        say: gets lines on what is done and found.

    Raises:
        OptionError: an unknown precision.
        ExportError: ONNX Runtime does not run a graph.
    """
    if precision not in PRECISIONS:
        raise OptionError(f"--precision {precision!r} is not one of {', '.join(PRECISIONS)}")
    metadata = dataclasses.replace(metadata, precision=PRECISIONS[precision])
    if precision == "fp32":
        return _written(float32, metadata, None, {})
    gate = gate or Gate(float32, metadata, num_images=num_images, real=real, say=say)
    say(f"{metadata.precision}: converting and comparing with float32")
    make = _float16 if precision == "fp16" else _int8
    variant = make(float32, metadata, gate, say)
    found = f": {variant.gate.summary}" if variant.gate else ""
    say(
        f"{metadata.precision}{found}"
        if variant.model
        else f"{metadata.precision} refused: {'; '.join(variant.reasons)}"
    )
    return variant


def _float16(float32: onnx.ModelProto, metadata: GeneratorMetadata, gate: Gate, say: Say) -> Variant:
    model = to_float16(float32)
    result = gate.compare(metadata.precision, open_session(model))
    # The CPU provider rounds less than a GPU does, so the pixels are judged with every value rounded as well.
    pixels, not_finite = gate.compare_pixels(open_session(rounded_like_float16(float32, model)))
    reasons = list(result.reasons)
    if not_finite:
        reasons.append(f"{not_finite:,} images have values above the largest float16")
    if not pixels.psnr_db >= FLOAT16_PSNR_DB:
        reasons.append(
            f"with every value rounded to float16, as on a GPU, PSNR against float32 is {pixels.psnr_db:.1f} dB, below "
            f"the budget of {FLOAT16_PSNR_DB:.0f} dB"
        )
    details = {
        "every_value_rounded": {
            "mean_squared_error_in_levels": pixels.mean_squared_error,
            "share_of_values_off_by_more_than_one_level": pixels.off_by_more_than_one,
            "images_with_values_that_are_not_finite": not_finite,
        }
    }
    return _judged(model, metadata, result, tuple(reasons), details)


def _int8(float32: onnx.ModelProto, metadata: GeneratorMetadata, gate: Gate, say: Say) -> Variant:
    int8 = to_int8(float32, metadata, say=say)
    if int8.model is None:
        return _judged(None, metadata, None, (str(int8.reason),), int8.to_dict())
    result = gate.compare(metadata.precision, open_session(int8.model))
    return _judged(int8.model, metadata, result, result.reasons, int8.to_dict())


def _judged(
    model: onnx.ModelProto | None,
    metadata: GeneratorMetadata,
    gate: GateResult | None,
    reasons: tuple[str, ...],
    details: dict[str, Any],
) -> Variant:
    if model is not None and not reasons:
        return _written(model, metadata, gate, details)
    return Variant(
        precision=metadata.precision, metadata=metadata, model=None, gate=gate, reasons=reasons, details=details
    )


def _written(
    model: onnx.ModelProto, metadata: GeneratorMetadata, gate: GateResult | None, details: dict[str, Any]
) -> Variant:
    own = onnx.ModelProto()
    own.CopyFrom(model)
    entries = {entry.key: entry.value for entry in own.metadata_props}
    onnx.helper.set_model_props(own, entries | {METADATA_KEY: metadata.to_json()})
    return Variant(precision=metadata.precision, metadata=metadata, model=own, gate=gate, reasons=(), details=details)
