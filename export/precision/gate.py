"""The gate: a variant draws what float32 draws, picture for picture, or it is refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor

from export.precision.gate_result import GateResult
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

GATE_IMAGES = 1000
# Of a thousand pictures some are taken for another class by chance: the difference of two agreements has a standard
# error of up to a point. Before a variant is refused for its classes alone, so many times as many are asked for.
SECOND_LOOK = 4
IMAGES_A_RUN = 16  # that a session draws at once: memory stays small at 128 pixels
IMAGES_A_STEP = 64  # that the extractor is given at once: its own chunk


class Gate:
    """One float32 graph, and everything that variants of it are compared by.

    Nothing is drawn before the first comparison. The features of float32's pictures, and the probe of its classes, are
    kept for the next.
    """

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
        self._judge: ClassJudge | NotMeasured | None = None
        self._features: list[Tensor] = []  # of float32's pictures, one a step

    def compare(self, precision: str, variant: Any, provider: str = CPU_PROVIDER) -> GateResult:
        """Draw the same pictures with both and judge.

        Args:
            precision: a key of PSNR_BUDGET_DB.
            variant: an ONNX Runtime session.
            provider: what runs `variant`.
        """
        comparison = _Comparison()
        self._extend(comparison, variant, self._num_images)
        result = self._verdict(comparison, precision, provider)
        if result.loses_classes and len(result.reasons) == 1:
            self._say(f"{precision}: {result.reasons[0]}; asking for {SECOND_LOOK} times as many images")
            self._extend(comparison, variant, SECOND_LOOK * self._num_images)
            result = self._verdict(comparison, precision, provider)
        return result

    def compare_pixels(self, variant: Any) -> tuple[PixelDifference, int]:
        """The pixels alone; and how many pictures of `variant`, a session, are not finite."""
        pixels, not_finite = PixelDifferenceSum(), 0
        for draws in self._steps(GATE_SEED, range(self._num_images)):
            levels, broken = _levels(variant, draws)
            pixels.add(levels, _levels(self._session, draws)[0])
            not_finite += broken
        return pixels.result(), not_finite

    def _extend(self, comparison: _Comparison, variant: Any, num_images: int) -> None:
        """Go on until `num_images` are compared."""
        extractor = self._load_extractor()
        for draws in self._steps(GATE_SEED, range(comparison.num_images, num_images)):
            levels, broken = _levels(variant, draws)
            reference, _ = _levels(self._session, draws)
            comparison.pixels.add(levels, reference)
            comparison.num_images += len(levels)
            comparison.not_finite += broken
            comparison.labels += [torch.from_numpy(draw.labels) for draw in draws if draw.labels is not None]
            if not isinstance(extractor, NotMeasured):
                if len(comparison.features) == len(self._features):
                    self._features.append(features_of(extractor, reference))
                comparison.features.append(features_of(extractor, levels))

    def _verdict(self, comparison: _Comparison, precision: str, provider: str) -> GateResult:
        extractor = self._load_extractor()
        features: str | NotMeasured
        probe: str | NotMeasured
        distance: float | NotMeasured
        now: float | NotMeasured
        before: float | NotMeasured
        if isinstance(extractor, NotMeasured):
            features = distance = probe = now = before = extractor
        else:
            features = f"{extractor.facts.name}, {extractor.facts.precision}"
            found = torch.cat(comparison.features)
            reference = torch.cat(self._features[: len(comparison.features)])
            distance = relative_distance(found, reference)
            judge = self._class_judge(extractor)
            if isinstance(judge, NotMeasured):
                probe = now = before = judge
            else:
                labels = torch.cat(comparison.labels)
                probe = judge.description
                now, before = judge.agreement(found, labels), judge.agreement(reference, labels)
        return GateResult(
            precision=precision,
            provider=provider,
            seed=GATE_SEED,
            truncation=self._metadata.default_truncation,
            pixels=comparison.pixels.result(),
            not_finite=comparison.not_finite,
            features=features,
            feature_distance=distance,
            probe=probe,
            class_agreement=now,
            float32_class_agreement=before,
        )

    def _load_extractor(self) -> FeatureExtractor | NotMeasured:
        if self._extractor is None:
            self._extractor = load_judge_of_features(self._say)
            if isinstance(self._extractor, NotMeasured):
                self._say(f"the gate measures pixels alone: {self._extractor.reason}")
        return self._extractor

    def _class_judge(self, extractor: FeatureExtractor) -> ClassJudge | NotMeasured:
        if self._judge is None:
            num_classes = self._metadata.num_classes
            self._judge = (
                fit_class_judge(extractor, num_classes, self._real, self._images_for_the_probe())
                if num_classes
                else NotMeasured(reason="the model is unconditional")
            )
        return self._judge

    def _images_for_the_probe(self) -> Iterator[tuple[Levels, NDArray[np.int64]]]:
        for draws in self._steps(PROBE_SEED, range(self._num_images)):
            labels = [draw.labels for draw in draws if draw.labels is not None]
            yield _levels(self._session, draws)[0], np.concatenate(labels)

    def _steps(self, seed: int, images: range) -> Iterator[list[Draw]]:
        """The draws of `images`, in groups of IMAGES_A_STEP."""
        for start in range(images.start, images.stop, IMAGES_A_STEP):
            step = range(start, min(start + IMAGES_A_STEP, images.stop))
            yield list(serving_draws(self._metadata, seed=seed, images=step, batch=IMAGES_A_RUN))


@dataclasses.dataclass(slots=True)
class _Comparison:
    """What is known of a variant so far."""

    pixels: PixelDifferenceSum = dataclasses.field(default_factory=PixelDifferenceSum)
    num_images: int = 0
    not_finite: int = 0
    features: list[Tensor] = dataclasses.field(default_factory=list)  # one a step
    labels: list[Tensor] = dataclasses.field(default_factory=list)


def _levels(session: Any, draws: list[Draw]) -> tuple[Levels, int]:
    """Pictures uint8 (n, height, width, channels), and how many of them had values that are not finite (now 127)."""
    images = np.concatenate([draw_images(session, draw) for draw in draws])
    broken = int((~np.isfinite(images)).any(axis=(1, 2, 3)).sum())
    return to_uint8(np.nan_to_num(images, nan=0.0, posinf=1.0, neginf=-1.0)), broken
