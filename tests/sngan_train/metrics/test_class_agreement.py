"""The linear probe against Bayes' rule for Gaussians and counts by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor

from sngan_train.errors import ConfigError
from sngan_train.metrics.class_agreement import LinearProbe, class_agreement

DIM = 6


def clusters(count: int, seed: int, distance: float, classes: int = 2) -> tuple[Tensor, Tensor]:
    """Unit Gaussians whose means are `distance` apart, on scales that differ a hundredfold, far from the origin."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes, (count,), generator=generator)
    means = torch.eye(classes, DIM) * distance / 2**0.5
    points = torch.randn(count, DIM, generator=generator) + means[labels]
    return points * torch.logspace(-1, 1, DIM) + 50.0, labels


def probe_of(weights: list[list[float]], bias: list[float]) -> LinearProbe:
    return LinearProbe(weights=np.array(weights), bias=np.array(bias), held_out_accuracy=1.0, held_out_images=1)


@pytest.mark.parametrize("distance", [1.0, 3.0])
def test_two_gaussians_are_told_apart_as_well_as_can_be(distance: float) -> None:
    """The best there is has accuracy Φ(distance / 2)."""
    features, labels = clusters(4000, 0, distance)
    probe = LinearProbe.fit(features, labels, 2)
    best = scipy.stats.norm.cdf(distance / 2.0)
    unseen, unseen_labels = clusters(4000, 1, distance)
    assert class_agreement(probe, unseen, unseen_labels).overall == pytest.approx(best, abs=0.02)
    assert probe.held_out_accuracy == pytest.approx(best, abs=4.0 * np.sqrt(best * (1.0 - best) / 800))
    assert 795 <= probe.held_out_images <= 800


def test_several_classes() -> None:
    features, labels = clusters(1500, 0, 9.0, classes=4)
    probe = LinearProbe.fit(features, labels, 4)
    unseen, unseen_labels = clusters(300, 1, 9.0, classes=4)
    agreement = class_agreement(probe, unseen, unseen_labels)
    assert agreement.overall > 0.99
    assert len(agreement.per_class) == 4
    assert torch.equal(probe.predict(unseen[:10]), unseen_labels[:10])


def test_held_out_images_are_not_learned_from() -> None:
    """Labels without any meaning: more features than images are learned by heart, and held-out ones are guessed."""
    generator = torch.Generator().manual_seed(0)
    features, labels = torch.randn(500, 900, generator=generator), torch.arange(500) % 2
    probe = LinearProbe.fit(features, labels, 2)
    assert probe.held_out_images == 100
    assert 0.3 <= probe.held_out_accuracy <= 0.7
    assert class_agreement(probe, features, labels).overall > 0.85


def test_agreement_is_counted() -> None:
    """The larger of two numbers names the class; worked out by hand."""
    probe = probe_of([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]], [0.0, 0.0, -100.0])
    features = torch.tensor([[3.0, 1.0], [1.0, 3.0], [5.0, 0.0], [0.0, 5.0]])
    agreement = class_agreement(probe, features, torch.tensor([0, 0, 0, 1]))
    assert agreement.overall == 0.75
    assert agreement.per_class[:2] == (2.0 / 3.0, 1.0)
    assert np.isnan(agreement.per_class[2])
    assert agreement.worst == 2.0 / 3.0


def test_a_shuffled_request_agrees_by_chance() -> None:
    features, labels = clusters(2000, 0, 9.0, classes=4)
    probe = LinearProbe.fit(features, labels, 4)
    shuffled = labels[torch.randperm(2000, generator=torch.Generator().manual_seed(0))]
    assert class_agreement(probe, features, shuffled).overall == pytest.approx(0.25, abs=0.04)


def test_a_class_without_real_images_is_never_named() -> None:
    features, labels = clusters(300, 0, 9.0, classes=2)
    probe = LinearProbe.fit(features, labels * 2, 4)  # classes 0 and 2 of 4
    assert np.isneginf(probe.bias).tolist() == [False, True, False, True]
    assert set(probe.predict(torch.randn(200, DIM) * 100.0).tolist()) <= {0, 2}
    assert class_agreement(probe, features, labels * 2).overall > 0.99


def test_a_feature_that_never_moved_does_not_decide() -> None:
    """Dead over the real images but for dust, and alive in a generated one."""
    features, labels = clusters(400, 0, 9.0)
    dust = 1e-9 * labels.float()[:, None]
    probe = LinearProbe.fit(torch.cat([features, dust, torch.zeros(400, 1)], dim=1), labels, 2)
    alive = torch.cat([features, torch.full((400, 2), 1e-3)], dim=1)
    assert class_agreement(probe, alive, labels).overall > 0.99


def test_the_same_arguments_give_the_same_bits_and_the_seed_chooses_the_fifth() -> None:
    features, labels = clusters(300, 0, 1.0)
    first, again, other = (LinearProbe.fit(features, labels, 2, seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(first.weights, again.weights)
    assert first.held_out_accuracy == again.held_out_accuracy
    assert not np.array_equal(first.weights, other.weights)


def test_a_cache_file_gives_the_same_bits(tmp_path: Path) -> None:
    features, labels = clusters(100, 0, 2.0)
    probe = LinearProbe.fit(features, labels, 3)
    np.savez(tmp_path / "probe.npz", **probe.to_arrays(), name=np.array("other"))
    with np.load(tmp_path / "probe.npz", allow_pickle=False) as arrays:
        again = LinearProbe.from_arrays(arrays)
    assert np.array_equal(again.weights, probe.weights)
    assert np.array_equal(again.bias, probe.bias)
    assert (again.held_out_accuracy, again.held_out_images) == (probe.held_out_accuracy, probe.held_out_images)


def test_what_is_refused() -> None:
    features, labels = clusters(40, 0, 2.0)
    with pytest.raises(ConfigError, match="there are images of 1"):
        LinearProbe.fit(features, labels * 0, 2)
    with pytest.raises(ConfigError, match="one image in 5 of a class"):
        LinearProbe.fit(features[:8], torch.arange(8) % 4, 4)
    with pytest.raises(ValueError, match="labels are 0 to 1, got 0 to 3"):
        LinearProbe.fit(features, labels * 3, 2)
    probe = probe_of([[1.0, 0.0], [0.0, 1.0]], [0.0, 0.0])
    with pytest.raises(ValueError, match=r"takes features \(N, 2\), got \(40, 6\)"):
        probe.predict(features)
    with pytest.raises(ValueError, match="labels are 0 to 1, got 2 to 2"):
        class_agreement(probe, features[:1, :2], torch.tensor([2]))
    with pytest.raises(ValueError, match="not a linear probe"):
        LinearProbe.from_arrays({"weights": np.zeros((2, 3)), "bias": np.zeros(3)})


def test_a_fit_that_was_cut_short_is_used_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """And no warning, which pytest would make an error, reaches the user."""
    monkeypatch.setattr("sngan_train.metrics.class_agreement.MOST_ITERATIONS", 1)
    features, labels = clusters(400, 0, 9.0)
    assert LinearProbe.fit(features, labels, 2).held_out_accuracy > 0.9
