"""What pictures look like to a network that knows others: their features, and the class that they seem to be of."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sngan_train.errors import ConfigError, TrainError
from sngan_train.metrics.class_agreement import LinearProbe, class_agreement
from sngan_train.metrics.extractor import FeatureExtractor, load_extractor

EXTRACTOR = "efficientnet-lite0"
Levels = NDArray[np.uint8]  # (n, height, width, channels)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RealImages:
    """Pictures with their classes, for the probe to learn from.

    Attributes:
        images: uint8 (N, channels, S, S).
        labels: int64 (N,), in the order of the generator's class names.
        origin: where they are from, for the report.
    """

    images: Tensor
    labels: Tensor
    origin: str


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class NotMeasured:
    """A figure that there is none of, and why, in words for the report."""

    reason: str


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ClassJudge:
    """A probe and what it learned from."""

    probe: LinearProbe
    fitted_on: str

    @property
    def description(self) -> str:
        """For the report."""
        probe = self.probe
        return f"{self.fitted_on}; names {probe.held_out_accuracy:.3f} of {probe.held_out_images:,} kept from the fit"

    def agreement(self, features: Tensor, labels: Tensor) -> float:
        """Share of pictures that are taken for the class asked for; `features` float32 (N, D), `labels` int64 (N,)."""
        return class_agreement(self.probe, features, labels).overall


def load_judge_of_features(report: Callable[[str], None]) -> FeatureExtractor | NotMeasured:
    """The extractor, or why there is none. In float32: bfloat16's rounding would be most of a small distance."""
    try:
        return load_extractor(EXTRACTOR, torch.device("cpu"), precision="float32", report=report)
    except TrainError as error:
        return NotMeasured(reason=str(error))


def features_of(extractor: FeatureExtractor, levels: Levels) -> Tensor:
    """float32 (n, D) of pictures uint8 (n, height, width, channels)."""
    return extractor(torch.from_numpy(np.ascontiguousarray(levels.transpose(0, 3, 1, 2)))).features


def relative_distance(features: Tensor, reference: Tensor) -> float | NotMeasured:
    """Mean distance between each picture's features and its reference's, in units of the references' own distances.

    0 is the same; 1 is as far apart as two references of other latents are on average.

    Args:
        features: float32 (N, D), N ≥ 2.
        reference: float32 (N, D), of the same requests in the same order.
    """
    paired = (features.double() - reference.double()).norm(dim=1).mean()
    count = len(reference)
    # Distances by differences: by a matrix product they lose the digits that near features have left.
    distances = torch.cdist(reference, reference, compute_mode="donot_use_mm_for_euclid_dist")
    unpaired = distances.double().sum() / (count * (count - 1))
    if not float(unpaired) > 0.0:
        return NotMeasured(reason="all float32 images have the same features, so there is no distance to compare with")
    return float(paired / unpaired)


def fit_class_judge(
    extractor: FeatureExtractor,
    num_classes: int,
    real: RealImages | None,
    generated: Iterable[tuple[Levels, NDArray[np.int64]]],
) -> ClassJudge | NotMeasured:
    """A linear probe on real pictures, or, without any, on pictures that the float32 model drew for each class.

    Against real pictures agreement means what it does elsewhere. Against the model's own it means less (the model may
    be wrong), and a change of it still means that the variant's classes are not float32's.

    Args:
        extractor: of the features.
        num_classes: K ≥ 1.
        real: None takes `generated`, which is not read otherwise.
        generated: pictures and the classes asked for; none that is compared later may be among them.
    """
    if num_classes < 2:
        return NotMeasured(reason="the model has one class, so every image is of it")
    if real is not None:
        features, labels = extractor(real.images).features, real.labels
        fitted_on = f"{len(labels):,} real images ({real.origin})"
    else:
        parts = list(_features_and_labels(extractor, generated))
        features, labels = torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])
        fitted_on = f"{len(labels):,} images of the float32 model, of other latents than those compared"
    try:
        probe = LinearProbe.fit(features, labels, num_classes)
    except ConfigError as error:
        return NotMeasured(reason=f"{error} ({fitted_on})")
    except ModuleNotFoundError as error:
        return NotMeasured(reason=f"the class probe needs {error.name}: `pip install 'sngan[evaluate]'`")
    return ClassJudge(probe=probe, fitted_on=fitted_on)


def _features_and_labels(
    extractor: FeatureExtractor, generated: Iterable[tuple[Levels, Any]]
) -> Iterator[tuple[Tensor, Tensor]]:
    for levels, labels in generated:
        yield features_of(extractor, levels), torch.from_numpy(labels)
