"""The gate's verdict on one variant: the figures, and the reasons if it is refused."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from export.precision.budgets import CLASS_AGREEMENT_LOSS, PSNR_BUDGET_DB
from export.precision.judges import NotMeasured
from export.precision.pixels import PixelDifference

ROUNDING = 1e-9  # of a difference of two shares: exactly the budget passes


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class GateResult:
    """What was compared and what was found.

    Attributes:
        precision: a key of PSNR_BUDGET_DB.
        provider: ONNX Runtime's provider that ran the variant; float32 ran on the CPU provider.
        seed: of the latents, with `truncation` for the same comparison again.
        truncation: of the latents.
        pixels: differences in levels 0 to 255.
        not_finite: pictures of the variant with a value that is not a number, or infinite.
        feature_distance: `judges.relative_distance` of the same pictures.
        features: what network the features are of.
        float32_class_agreement: share of float32's pictures that are taken for the class asked for.
        class_agreement: the same of the variant's.
        probe: what the probe of the classes was fitted on, and its accuracy on images kept from that fit.
    """

    precision: str
    provider: str
    seed: int
    truncation: float | None
    pixels: PixelDifference
    not_finite: int
    feature_distance: float | NotMeasured
    features: str | NotMeasured
    float32_class_agreement: float | NotMeasured
    class_agreement: float | NotMeasured
    probe: str | NotMeasured

    @property
    def psnr_budget_db(self) -> float:
        """The smallest PSNR that passes."""
        return PSNR_BUDGET_DB[self.precision]

    @property
    def loses_classes(self) -> bool:
        """Whether class agreement is lower than float32's by more than the budget."""
        now, before = self.class_agreement, self.float32_class_agreement
        if not (isinstance(now, float) and isinstance(before, float)):
            return False
        return before - now > CLASS_AGREEMENT_LOSS + ROUNDING

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it is refused, in plain words; empty if it passes."""
        reasons = []
        if self.not_finite:
            reasons.append(f"{self.not_finite:,} images have values that are not finite")
        if not self.pixels.psnr_db >= self.psnr_budget_db:
            reasons.append(
                f"PSNR against float32 is {self.pixels.psnr_db:.1f} dB, "
                f"below the budget of {self.psnr_budget_db:.0f} dB"
            )
        if self.loses_classes:
            reasons.append(
                f"class agreement falls from {self.float32_class_agreement:.3f} to {self.class_agreement:.3f}, by more "
                f"than the budget of {CLASS_AGREEMENT_LOSS:.2f}"
            )
        return tuple(reasons)

    @property
    def passed(self) -> bool:
        """Whether the variant may be written."""
        return not self.reasons

    @property
    def summary(self) -> str:
        """The figures in one line."""
        parts = [f"PSNR {self.pixels.psnr_db:.1f} dB over {self.pixels.num_images:,} images"]
        parts.append(f"{self.pixels.off_by_more_than_one:.2%} of the values off by more than one level")
        if isinstance(self.feature_distance, float):
            parts.append(f"feature distance {self.feature_distance:.3f}")
        if isinstance(self.class_agreement, float) and isinstance(self.float32_class_agreement, float):
            parts.append(f"class agreement {self.class_agreement:.3f} (float32: {self.float32_class_agreement:.3f})")
        return ", ".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """For the report, JSON throughout: an infinite PSNR (no pixel differs) is None, its squared error says 0."""
        return {
            "precision": self.precision,
            "passed": self.passed,
            "reasons": list(self.reasons),
            "provider": self.provider,
            "images": self.pixels.num_images,
            "seed": self.seed,
            "truncation": self.truncation,
            "psnr_db": _finite(self.pixels.psnr_db),
            "psnr_budget_db": self.psnr_budget_db,
            "psnr_db_of_the_worst_image": _finite(self.pixels.worst_image_psnr_db),
            "mean_squared_error_in_levels": self.pixels.mean_squared_error,
            "share_of_values_off_by_more_than_one_level": self.pixels.off_by_more_than_one,
            "images_with_values_that_are_not_finite": self.not_finite,
            "feature_distance": _told(self.feature_distance),
            "features": _told(self.features),
            "class_agreement": _told(self.class_agreement),
            "class_agreement_of_float32": _told(self.float32_class_agreement),
            "class_agreement_loss_budget": CLASS_AGREEMENT_LOSS,
            "class_probe": _told(self.probe),
        }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _told(value: float | str | NotMeasured) -> float | str | dict[str, str]:
    return {"not measured": value.reason} if isinstance(value, NotMeasured) else value
