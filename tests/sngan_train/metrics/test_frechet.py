"""The Fréchet distance against closed forms, SciPy's matrix square root and torch-fidelity."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch
from numpy.typing import NDArray

from sngan_train.metrics.frechet import frechet_distance, is_rank_deficient
from sngan_train.metrics.moments import Moments, RunningMoments

ROUNDING = 1e-12  # of the traces


def gaussian(mean: NDArray[np.float64], covariance: NDArray[np.float64], count: int = 100_000) -> Moments:
    return Moments(count=count, mean=mean, covariance=covariance)


def sample(count: int, dim: int, seed: int, rank: int | None = None) -> Moments:
    """Moments of correlated features with a spread of eigenvalues, of at most `rank` dimensions."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(rank or dim, dim, generator=generator, dtype=torch.float64) * 0.8 ** torch.arange(dim)
    moments = RunningMoments(dim)
    moments.add(torch.randn(count, rank or dim, generator=generator, dtype=torch.float64) @ mixing + seed)
    return moments.moments()


def test_one_dimension() -> None:
    """(μ₁ − μ₂)² + (σ₁ − σ₂)²."""
    first = gaussian(np.array([1.0]), np.array([[4.0]]))
    second = gaussian(np.array([-2.0]), np.array([[25.0]]))
    assert frechet_distance(first, second) == pytest.approx(9.0 + 9.0, rel=ROUNDING)


def test_independent_dimensions_add_up() -> None:
    generator = np.random.default_rng(0)
    means, deviations = generator.normal(size=(2, 30)), generator.uniform(0.0, 3.0, size=(2, 30))
    deviations[0, 3] = deviations[1, 4] = 0.0
    first, second = (gaussian(m, np.diag(d**2)) for m, d in zip(means, deviations, strict=True))
    expected = ((means[0] - means[1]) ** 2 + (deviations[0] - deviations[1]) ** 2).sum()
    assert frechet_distance(first, second) == pytest.approx(expected, rel=ROUNDING)


def test_a_rotation_of_the_features_changes_nothing() -> None:
    first, second = sample(200, 12, 1), sample(200, 12, 2)
    rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(12, 12)))
    turned = [gaussian(rotation @ m.mean, rotation @ m.covariance @ rotation.T) for m in (first, second)]
    assert frechet_distance(*turned) == pytest.approx(frechet_distance(first, second), rel=1e-10)


def test_against_scipys_matrix_square_root() -> None:
    first, second = sample(300, 24, 1), sample(250, 24, 2)
    root = scipy.linalg.sqrtm(first.covariance)
    cross = scipy.linalg.sqrtm(root @ second.covariance @ root)
    shift = first.mean - second.mean
    expected = shift @ shift + np.trace(first.covariance + second.covariance - 2.0 * cross)
    assert np.isrealobj(expected)
    # SciPy's root of a product has half the digits of its smallest eigenvalues.
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-8)


def test_against_torch_fidelity() -> None:
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    generator = torch.Generator().manual_seed(0)
    real, generated = torch.randn(400, 48, generator=generator).abs(), torch.rand(300, 48, generator=generator)
    statistics = [fid_features_to_statistics(features) for features in (real, generated)]
    expected = fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    moments = []
    for features in (real, generated):
        running = RunningMoments(48)
        running.add(features)
        moments.append(running.moments())
    # torch-fidelity's mean is a float32 one
    assert frechet_distance(*moments) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("count", "rank"), [(200, None), (10, None), (200, 5)])
def test_the_distance_to_itself_is_zero(count: int, rank: int | None) -> None:
    moments = sample(count, 40, 3, rank)
    assert abs(frechet_distance(moments, moments)) <= ROUNDING * np.trace(moments.covariance)


@pytest.mark.parametrize(("count", "rank"), [(200, None), (10, None), (200, 5)])
def test_it_is_symmetric(count: int, rank: int | None) -> None:
    first, second = sample(count, 40, 3, rank), sample(150, 40, 4)
    assert frechet_distance(first, second) == pytest.approx(frechet_distance(second, first), rel=ROUNDING)


def test_singular_covariances_lose_no_digits() -> None:
    """Two planes that share a line, in 30 dimensions, at a scale where the root of a rounded zero would show."""
    scale = 1e4
    first, second = np.zeros((30, 30)), np.zeros((30, 30))
    first[:2, :2], second[1:3, 1:3] = np.diag([4.0, 9.0]) * scale, np.diag([1.0, 16.0]) * scale
    rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(30, 30)))
    turned = [gaussian(np.zeros(30), rotation @ covariance @ rotation.T) for covariance in (first, second)]
    expected = (4.0 + 9.0 + 1.0 + 16.0 - 2.0 * 3.0 * 1.0) * scale  # the line's deviations are 3 and 1
    assert frechet_distance(*turned) == pytest.approx(expected, rel=ROUNDING)


def test_one_missing_dimension_loses_no_digits() -> None:
    """Its eigenvalue is a rounded zero, positive as often as negative."""
    for seed in range(10):
        generator = np.random.default_rng(seed)
        deviations = generator.uniform(1.0, 3.0, size=(2, 40))
        deviations[0, 0] = 0.0
        rotation, _ = np.linalg.qr(generator.normal(size=(40, 40)))
        first, second = (
            gaussian(np.zeros(40), rotation @ np.diag(d**2) @ rotation.T, count)
            for d, count in zip(deviations, (40, 1000), strict=True)
        )
        expected = ((deviations[0] - deviations[1]) ** 2).sum()
        assert frechet_distance(first, second) == pytest.approx(expected, rel=ROUNDING)


def test_equal_images_have_no_spread() -> None:
    point = gaussian(np.full(6, 2.0), np.zeros((6, 6)))
    other = sample(100, 6, 5)
    shift = other.mean - 2.0
    assert frechet_distance(point, other) == pytest.approx(shift @ shift + np.trace(other.covariance), rel=ROUNDING)
    assert frechet_distance(point, point) == 0.0


def test_rank_deficiency_is_a_matter_of_the_count() -> None:
    """`count` deviations from their mean have a rank of count − 1, which NumPy counts."""
    for count in (39, 40, 41, 42):
        moments = sample(count, 40, 6)
        correlation = moments.covariance / np.sqrt(np.outer(*[np.diag(moments.covariance)] * 2))
        assert is_rank_deficient(moments) == (np.linalg.matrix_rank(correlation) < 40)


def test_the_number_of_threads_is_put_back() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        frechet_distance(sample(50, 6, 1), sample(50, 6, 2))
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_features_of_two_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="moments of 3 and of 4 features"):
        frechet_distance(sample(9, 3, 0), sample(9, 4, 0))
