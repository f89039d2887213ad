"""The gate: a variant is compared with the float32 graph on many pictures, and passes or is refused with reasons."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor

from export.precision.budgets import CLASS_AGREEMENT_LOSS, PSNR_BUDGET_DB
from export.precision.judges import (
    ClassJudge,
    Levels,
    NotMeasured,
    RealImages,
    features_of,
    fit_class_judge,
    load_judge_of_features,
    relative_distance,
)
from export.precision.pixels import PixelDifference, PixelDifferenceSum
from export.precision.serving_draws import GATE_SEED, PROBE_SEED, Draw, serving_draws
from export.precision.sessions import CPU_PROVIDER, draw_images, open_session
from handlers.metadata import GeneratorMetadata
from handlers.session import to_uint8
from sngan_train.metrics.extractor import FeatureExtractor

ROUNDING = 1e-9  # of a difference of two shares: exactly the budget passes

GATE_IMAGES = 1000
IMAGES_A_RUN = 16  # that a session draws at once: memory stays small at 128 pixels
IMAGES_A_STEP = 64  # that the extractor is given at once: its own chunk


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class GateResult:
    """What was compared, what was found, and the verdict.

    Attributes:
        precision: a key of PSNR_BUDGET_DB.
        provider: ONNX Runtime's provider that ran the variant; float32 ran on the CPU provider.
        seed, truncation: of the latents, for the same comparison again.
        pixels: differences in levels 0 to 255.
        psnr_budget_db: smallest PSNR that passes.
        not_finite: pictures of the variant with a value that is not a number, or infinite.
        feature_distance: `judges.relative_distance` of the same pictures.
        features: what network the features are of.
        float32_class_agreement, class_agreement: share of pictures taken for the class asked for.
        probe: what the probe of the classes was fitted on, and its accuracy on images kept from that fit.
        reasons: why it is refused, in plain words; empty if it passes.
    """

    precision: str
    provider: str
    seed: int
    truncation: float | None
    pixels: PixelDifference
    psnr_budget_db: float
    not_finite: int
    feature_distance: float | NotMeasured
    features: str | NotMeasured
    float32_class_agreement: float | NotMeasured
    class_agreement: float | NotMeasured
    probe: str | NotMeasured
    reasons: tuple[str, ...]

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


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _Float32:
    """What of the float32 graph does not change from variant to variant."""

    features: Tensor  # (N, D)
    judge: ClassJudge | NotMeasured
    agreement: float | NotMeasured


class Gate:
    """One float32 graph, and everything that variants of it are compared by."""

    def __init__(
        self,
        float32: onnx.ModelProto,
        metadata: GeneratorMetadata,
        *,
        num_images: int = GATE_IMAGES,
        real: RealImages | None = None,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        """`num_images`, at least 2, are compared; `real` images, if given, are what the class probe learns from.

        Raises ExportError if ONNX Runtime does not run `float32`.
        """
        assert num_images >= 2, num_images
        self._metadata = metadata
        self._num_images = num_images
        self._real = real
        self._say = say
        self._session = open_session(float32)
        self._extractor: FeatureExtractor | NotMeasured | None = None
        self._float32: _Float32 | None = None

    def compare(self, precision: str, variant: Any, provider: str = CPU_PROVIDER) -> GateResult:
        """Draw the same pictures with both and judge.

        Args:
            precision: a key of PSNR_BUDGET_DB.
            variant: an ONNX Runtime session.
            provider: what runs `variant`.
        """
        extractor = self._load_extractor()
        pixels, not_finite = PixelDifferenceSum(), 0
        found: list[Tensor] = []  # features
        references: list[Tensor] = []
        for draws in self._steps(GATE_SEED):
            levels, broken = _levels(variant, draws)
            reference, _ = _levels(self._session, draws)
            pixels.add(levels, reference)
            not_finite += broken
            if not isinstance(extractor, NotMeasured):
                found.append(features_of(extractor, levels))
                if self._float32 is None:
                    references.append(features_of(extractor, reference))
        difference = pixels.result()
        judged = self._judge(extractor, found, references)
        budget_db = PSNR_BUDGET_DB[precision]
        return GateResult(
            precision=precision,
            provider=provider,
            seed=GATE_SEED,
            truncation=self._metadata.default_truncation,
            pixels=difference,
            psnr_budget_db=budget_db,
            not_finite=not_finite,
            reasons=tuple(_reasons(difference.psnr_db, budget_db, not_finite, judged)),
            **judged,
        )

    def compare_pixels(self, variant: Any) -> tuple[PixelDifference, int]:
        """The pixels alone, of all pictures; and how many pictures of `variant`, a session, are not finite."""
        pixels, not_finite = PixelDifferenceSum(), 0
        for draws in self._steps(GATE_SEED):
            levels, broken = _levels(variant, draws)
            pixels.add(levels, _levels(self._session, draws)[0])
            not_finite += broken
        return pixels.result(), not_finite

    def _load_extractor(self) -> FeatureExtractor | NotMeasured:
        if self._extractor is None:
            self._extractor = load_judge_of_features(self._say)
            if isinstance(self._extractor, NotMeasured):
                self._say(f"the gate measures pixels alone: {self._extractor.reason}")
        return self._extractor

    def _judge(
        self, extractor: FeatureExtractor | NotMeasured, found: list[Tensor], references: list[Tensor]
    ) -> dict[str, Any]:
        """The fields of a GateResult that features decide."""
        if isinstance(extractor, NotMeasured):
            names = ("features", "feature_distance", "probe", "class_agreement", "float32_class_agreement")
            return dict.fromkeys(names, extractor)
        if self._float32 is None:
            self._float32 = self._look_at_float32(extractor, torch.cat(references))
        features, float32 = torch.cat(found), self._float32
        judge = float32.judge
        return {
            "features": f"{extractor.facts.name}, {extractor.facts.precision}",
            "feature_distance": relative_distance(features, float32.features),
            "probe": judge
            if isinstance(judge, NotMeasured)
            else f"{judge.fitted_on}; names {judge.probe.held_out_accuracy:.3f} of "
            f"{judge.probe.held_out_images:,} kept from the fit",
            "class_agreement": judge if isinstance(judge, NotMeasured) else judge.agreement(features, self._labels()),
            "float32_class_agreement": float32.agreement,
        }

    def _look_at_float32(self, extractor: FeatureExtractor, features: Tensor) -> _Float32:
        if not self._metadata.num_classes:
            nothing = NotMeasured(reason="the model is unconditional")
            return _Float32(features=features, judge=nothing, agreement=nothing)
        judge = fit_class_judge(extractor, self._metadata.num_classes, self._real, self._images_for_the_probe())
        agreement = judge if isinstance(judge, NotMeasured) else judge.agreement(features, self._labels())
        return _Float32(features=features, judge=judge, agreement=agreement)

    def _images_for_the_probe(self) -> Iterator[tuple[Levels, NDArray[np.int64]]]:
        for draws in self._steps(PROBE_SEED):
            yield (
                _levels(self._session, draws)[0],
                np.concatenate([draw.labels for draw in draws if draw.labels is not None]),
            )

    def _labels(self) -> Tensor:
        draws = (draw for step in self._steps(GATE_SEED) for draw in step)
        return torch.from_numpy(np.concatenate([draw.labels for draw in draws if draw.labels is not None]))

    def _steps(self, seed: int) -> Iterator[list[Draw]]:
        """All draws, in groups of IMAGES_A_STEP images."""
        step: list[Draw] = []
        for draw in serving_draws(self._metadata, seed=seed, count=self._num_images, batch=IMAGES_A_RUN):
            step.append(draw)
            if len(step) == IMAGES_A_STEP // IMAGES_A_RUN:
                yield step
                step = []
        if step:
            yield step


def _levels(session: Any, draws: list[Draw]) -> tuple[Levels, int]:
    """Pictures uint8 (n, height, width, channels), and how many of them had values that are not finite (now 127)."""
    images = np.concatenate([draw_images(session, draw) for draw in draws])
    broken = int((~np.isfinite(images)).any(axis=(1, 2, 3)).sum())
    return to_uint8(np.nan_to_num(images, nan=0.0, posinf=1.0, neginf=-1.0)), broken


def _reasons(psnr: float, budget_db: float, not_finite: int, judged: dict[str, Any]) -> Iterator[str]:
    if not_finite:
        yield f"{not_finite:,} images have values that are not finite"
    if not psnr >= budget_db:
        yield f"PSNR against float32 is {psnr:.1f} dB, below the budget of {budget_db:.0f} dB"
    now, before = judged["class_agreement"], judged["float32_class_agreement"]
    if isinstance(now, float) and isinstance(before, float) and before - now > CLASS_AGREEMENT_LOSS + ROUNDING:
        yield (
            f"class agreement falls from {before:.3f} to {now:.3f}, by more than the budget "
            f"of {CLASS_AGREEMENT_LOSS:.2f}"
        )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _told(value: float | str | NotMeasured) -> float | str | dict[str, str]:
    return {"not measured": value.reason} if isinstance(value, NotMeasured) else value
