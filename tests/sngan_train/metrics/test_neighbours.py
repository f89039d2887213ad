"""Precision, recall, density and coverage against brute force and torch-fidelity."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sngan_train.errors import ConfigError
from sngan_train.metrics.neighbours import neighbour_metrics

SCORES = ("precision", "recall", "density", "coverage")


def features(count: int, seed: int, shift: float = 0.0, dim: int = 3) -> Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed)) + shift


def brute_force(real: Tensor, generated: Tensor, k: int, k_density: int) -> tuple[float, ...]:
    """The definitions of both papers, on whole tables of distances by subtraction, in float64."""
    x, y = real.double().numpy(), generated.double().numpy()

    def distances(first: Any, second: Any) -> Any:
        return np.linalg.norm(first[:, None, :] - second[None, :, :], axis=2)

    def radii(points: Any, neighbours: int) -> Any:
        return np.sort(distances(points, points), axis=1)[:, neighbours]  # the 0th is the point itself

    between = distances(y, x)
    precision = (between <= radii(x, k)).any(axis=1).mean()
    recall = (radii(y, k) >= between.T).any(axis=1).mean()
    density = (between <= radii(x, k_density)).sum() / (k_density * len(y))
    coverage = (between.min(axis=0) <= radii(x, k_density)).mean()
    return float(precision), float(recall), float(density), float(coverage)


@pytest.mark.parametrize(("k", "k_density"), [(3, 5), (5, 3), (1, 1)])
@pytest.mark.parametrize("rows_at_a_time", [1, 13, 1024])
def test_against_brute_force(monkeypatch: pytest.MonkeyPatch, rows_at_a_time: int, k: int, k_density: int) -> None:
    monkeypatch.setattr("sngan_train.metrics.neighbours.ROWS_AT_A_TIME", rows_at_a_time)
    # The mean is far from zero: without moving the origin no distance would have a digit left.
    real, generated = features(90, 0, shift=3000.0), features(70, 1, shift=3001.0)
    metrics = neighbour_metrics(real, generated, precision_neighbours=k, density_neighbours=k_density)
    expected = brute_force(real, generated, k, k_density)
    assert min(expected) > 0.0
    assert max(expected[0], expected[1], expected[3]) < 1.0
    assert [getattr(metrics, name) for name in SCORES] == pytest.approx(expected, rel=1e-12)
    assert (metrics.precision_neighbours, metrics.density_neighbours) == (k, k_density)


def test_the_papers_numbers_of_neighbours_are_the_default() -> None:
    metrics = neighbour_metrics(features(40, 0), features(30, 1))
    assert (metrics.precision_neighbours, metrics.density_neighbours) == (3, 5)


def test_against_torch_fidelity() -> None:
    from torch_fidelity.metric_prc import prc_features_to_metric

    real, generated = features(200, 0, dim=8), features(150, 1, shift=0.3, dim=8)
    expected = prc_features_to_metric(generated, real, prc_neighborhood=3, verbose=False)
    metrics = neighbour_metrics(real, generated)
    assert metrics.precision == pytest.approx(expected["precision"], rel=1e-3)
    assert metrics.recall == pytest.approx(expected["recall"], rel=1e-3)
    assert metrics.precision != metrics.recall


def test_a_subset_of_the_real_images_is_precise() -> None:
    real = features(100, 0)
    metrics = neighbour_metrics(real, real[::2])
    assert metrics.precision == 1.0
    assert 0.9 <= metrics.coverage <= 1.0


def test_real_images_themselves_are_perfect() -> None:
    metrics = neighbour_metrics(features(100, 0), features(100, 0).flip(0))
    assert (metrics.precision, metrics.recall, metrics.coverage) == (1.0, 1.0, 1.0)


def test_two_samples_of_one_distribution() -> None:
    """Naeem et al. 2020: density is 1 and coverage 1 − (N−1)…(N−k) / (2N−1)…(2N−k) on average, whatever it is."""
    number, k = 150, 5
    expected = 1.0 - np.prod([(number - i) / (2 * number - i) for i in range(1, k + 1)])
    measured = [neighbour_metrics(features(number, 2 * i), features(number, 2 * i + 1)) for i in range(30)]
    for name, value in (("density", 1.0), ("coverage", expected)):
        values = np.array([getattr(metrics, name) for metrics in measured])
        assert abs(values.mean() - value) <= 4.0 * values.std() / np.sqrt(len(values))


def test_collapse_is_precise_but_recalls_nothing() -> None:
    real = features(100, 0)
    collapsed = real[:1] + 1e-3 * features(80, 1)
    metrics = neighbour_metrics(real, collapsed)
    assert metrics.precision == 1.0
    assert metrics.recall <= 0.01
    assert metrics.coverage < 0.2
    assert metrics.density > 0.2


def test_images_far_away_score_nothing() -> None:
    metrics = neighbour_metrics(features(50, 0), features(50, 1, shift=100.0))
    assert [getattr(metrics, name) for name in SCORES] == [0.0] * 4


def test_order_does_not_matter() -> None:
    real, generated = features(60, 0), features(50, 1, shift=0.5)
    metrics = neighbour_metrics(real, generated)
    assert dataclasses.astuple(neighbour_metrics(real.flip(0), generated.flip(0))) == dataclasses.astuple(metrics)


def test_what_is_refused() -> None:
    with pytest.raises(ConfigError, match="neighbour number 5 needs more than 5 images, there are 5"):
        neighbour_metrics(features(5, 0), features(20, 1))
    with pytest.raises(ConfigError, match="neighbour number 3 needs more than 3 images, there are 3"):
        neighbour_metrics(features(20, 0), features(3, 1))
    with pytest.raises(ConfigError, match="counted from 1, got 0"):
        neighbour_metrics(features(20, 0), features(20, 1), density_neighbours=0)
    with pytest.raises(ValueError, match=r"\(20, 3\) and \(20, 2\)"):
        neighbour_metrics(features(20, 0), features(20, 1, dim=2))
