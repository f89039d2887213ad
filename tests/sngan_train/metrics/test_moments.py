"""Running moments against numpy's mean and covariance of all features at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from sngan_train.metrics.moments import RunningMoments

ROUNDING = 1e-12  # float64 sums of some hundred terms
N, D = 200, 7


@pytest.fixture
def features() -> Tensor:
    """Means far from zero beside the spread, as features have them, and correlated."""
    generator = torch.Generator().manual_seed(0)
    mixed = torch.randn(N, D, generator=generator) @ torch.randn(D, D, generator=generator)
    return mixed + torch.arange(D) * 10.0


def running(features: Tensor, batch_size: int = N) -> RunningMoments:
    moments = RunningMoments(features.shape[1])
    for batch in features.split(batch_size):
        moments.add(batch)
    return moments


def assert_moments_of(moments: RunningMoments, features: Tensor) -> None:
    exact = features.double().numpy()
    assert moments.count == len(exact)
    np.testing.assert_allclose(moments.mean, exact.mean(axis=0), rtol=ROUNDING)
    covariance = np.cov(exact, rowvar=False)
    np.testing.assert_allclose(moments.covariance, covariance, atol=ROUNDING * np.abs(covariance).max())


@pytest.mark.parametrize("batch_size", [1, 3, 64, N])
def test_any_batch_size_gives_numpys_moments(features: Tensor, batch_size: int) -> None:
    assert_moments_of(running(features, batch_size), features)


def test_a_batch_larger_than_a_part_is_cut(monkeypatch: pytest.MonkeyPatch, features: Tensor) -> None:
    monkeypatch.setattr("sngan_train.metrics.moments.ROWS_AT_A_TIME", 32)
    assert_moments_of(running(features), features)


def test_the_order_does_not_matter(features: Tensor) -> None:
    order = torch.randperm(N, generator=torch.Generator().manual_seed(1))
    assert_moments_of(running(features[order], 17), features)


def test_a_far_mean_costs_few_digits() -> None:
    """Σx² − nμ² would have no digit left: the mean is 1e7 times the spread, its square 1e14 times the variance."""
    values = torch.tensor([1.0, 2.0, 4.0, 9.0], dtype=torch.float64).repeat(10)[:, None] * 1e-2
    moments = running(values + 1e5, 4)
    assert moments.covariance.item() == pytest.approx(float(np.var(values.numpy(), ddof=1)), rel=1e-7)


def test_processes_merge(features: Tensor) -> None:
    parts = [running(part, 9) for part in features.split([50, 120, 30])]
    total = RunningMoments(D)
    for part in [parts[2], RunningMoments(D), parts[0], parts[1]]:
        total.merge(part)
    assert_moments_of(total, features)
    assert_moments_of(parts[0], features[:50])  # what was merged is untouched


def test_merging_with_itself_counts_twice(features: Tensor) -> None:
    moments = running(features)
    moments.merge(moments)
    assert_moments_of(moments, features.repeat(2, 1))


def test_a_cache_file_gives_the_same_bits_and_can_be_added_to(features: Tensor, tmp_path: Path) -> None:
    moments = running(features[:150])
    np.savez(tmp_path / "moments.npz", **moments.to_arrays(), name=np.array("other"))
    with np.load(tmp_path / "moments.npz") as arrays:
        again = RunningMoments.from_arrays(arrays)
    assert np.array_equal(again.mean, moments.mean)
    assert np.array_equal(again.covariance, moments.covariance)
    again.add(features[150:])
    assert_moments_of(again, features)
    assert_moments_of(moments, features[:150])


def test_a_snapshot_stays_as_it_is(features: Tensor) -> None:
    moments = running(features[:100])
    snapshot = moments.moments()
    moments.add(features[100:])
    exact = features[:100].double().numpy()
    assert (snapshot.count, snapshot.feature_dim) == (100, D)
    np.testing.assert_allclose(snapshot.mean, exact.mean(axis=0), rtol=ROUNDING)
    np.testing.assert_allclose(snapshot.covariance, np.cov(exact, rowvar=False), atol=1e-9)


def test_what_is_refused(features: Tensor) -> None:
    moments = RunningMoments(D)
    with pytest.raises(ValueError, match=r"features are \(n, 7\)"):
        moments.add(features[:, :6])
    with pytest.raises(ValueError, match="not finite"):
        moments.add(torch.full((2, D), torch.nan))
    moments.add(features[:0])
    moments.add(features[:1])
    with pytest.raises(ValueError, match="at least 2 feature vectors, there are 1"):
        moments.moments()
    with pytest.raises(ValueError, match="moments of 6 features do not merge with those of 7"):
        moments.merge(RunningMoments(6))
    with pytest.raises(ValueError, match="not moments"):
        RunningMoments.from_arrays({"count": np.array(3), "mean": np.zeros(3), "scatter": np.zeros((2, 2))})
