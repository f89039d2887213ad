"""The kernel distance against a plain double loop and torch-fidelity."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sngan_train.errors import ConfigError
from sngan_train.metrics.kernel_distance import kernel_distance, kernel_distance_of_all

ROUNDING = 1e-11  # float64, of kernel values near 1 that all but cancel
FLOAT32 = 1e-5  # absolute, torch-fidelity's float32 kernels near 1


def features(count: int, dim: int, seed: int, shift: float = 0.0) -> Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed)).abs() + shift


def double_loop(real: Tensor, generated: Tensor) -> float:
    """Bińkowski et al. 2018, equation 4, term by term."""
    x, y = real.double().numpy(), generated.double().numpy()

    def kernel(first: Any, second: Any) -> float:
        return float((first @ second / len(first) + 1.0) ** 3)

    m, n = len(x), len(y)
    within_x = sum(kernel(x[i], x[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    within_y = sum(kernel(y[i], y[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    across = sum(kernel(x[i], y[j]) for i in range(m) for j in range(n)) / (m * n)
    return within_x + within_y - 2.0 * across


@pytest.mark.parametrize("rows_at_a_time", [1, 7, 20, 1024])
def test_all_images_against_a_double_loop(monkeypatch: pytest.MonkeyPatch, rows_at_a_time: int) -> None:
    monkeypatch.setattr("sngan_train.metrics.kernel_distance.ROWS_AT_A_TIME", rows_at_a_time)
    real, generated = features(20, 9, 0), features(33, 9, 1, shift=0.3)
    assert kernel_distance_of_all(real, generated) == pytest.approx(double_loop(real, generated), rel=ROUNDING)


def test_subsets_that_are_the_whole_set_against_a_double_loop() -> None:
    real, generated = features(25, 9, 0), features(25, 9, 1, shift=0.3)
    distance = kernel_distance(real, generated, subsets=3, seed=0)
    assert distance.mean == pytest.approx(double_loop(real, generated), abs=FLOAT32)
    assert distance.std_over_subsets <= FLOAT32
    assert (distance.subsets, distance.subset_size) == (3, 25)


def test_the_convention_is_torch_fidelitys_default() -> None:
    """Whose defaults are the polynomial kernel of degree 3, γ = 1/D, 1 added."""
    from torch_fidelity.metric_kid import kid_features_to_metric

    real, generated = features(60, 16, 0), features(50, 16, 1, shift=0.1)
    expected = kid_features_to_metric(generated, real, kid_subsets=8, kid_subset_size=20, rng_seed=5, verbose=False)
    distance = kernel_distance(real, generated, subsets=8, subset_size=20, seed=5)
    assert distance.mean == pytest.approx(expected["kernel_inception_distance_mean"], rel=1e-3)
    assert distance.std_over_subsets == pytest.approx(expected["kernel_inception_distance_std"], rel=1e-3)


def test_subsets_scatter_about_the_value_of_all() -> None:
    real, generated = features(300, 16, 0), features(260, 16, 1, shift=0.2)
    distance = kernel_distance(real, generated, subsets=200, subset_size=60, seed=0)
    exact = kernel_distance_of_all(real, generated)
    # 5 standard errors, were the subsets independent
    assert abs(distance.mean - exact) <= 5.0 * distance.std_over_subsets / np.sqrt(200)
    assert distance.subset_size == 60


def test_it_is_unbiased() -> None:
    """Over many pairs of small sets from one distribution the mean is 0, which a biased estimate is far from."""
    estimates = np.array(
        [kernel_distance_of_all(features(8, 5, 2 * i), features(12, 5, 2 * i + 1)) for i in range(400)]
    )
    standard_error = estimates.std() / np.sqrt(len(estimates))
    assert abs(estimates.mean()) <= 4.0 * standard_error
    assert (estimates < 0.0).any()
    diagonal = np.mean([float((row @ row / 5.0 + 1.0) ** 3) for row in features(8, 5, 0)])
    assert diagonal / 8 > 20.0 * standard_error  # about what leaving the diagonal in would add


def test_the_seed_chooses_the_subsets() -> None:
    real, generated = features(40, 8, 0), features(40, 8, 1)
    first, again, other = (kernel_distance(real, generated, subsets=3, subset_size=10, seed=s) for s in (1, 1, 2))
    assert first == again
    assert first != other


def test_order_and_sides_do_not_matter() -> None:
    real, generated = features(40, 8, 0), features(30, 8, 1, shift=0.3)
    exact = kernel_distance_of_all(real, generated)
    assert kernel_distance_of_all(generated.flip(0), real.flip(0)) == pytest.approx(exact, rel=ROUNDING)


def test_what_is_refused() -> None:
    with pytest.raises(ConfigError, match="2 images of each kind, got 1 real and 5 generated"):
        kernel_distance_of_all(features(1, 3, 0), features(5, 3, 0))
    with pytest.raises(ConfigError, match="not 0 of 1000"):
        kernel_distance(features(4, 3, 0), features(5, 3, 0), subsets=0, seed=0)
    with pytest.raises(ValueError, match=r"\(4, 3\) and \(5, 2\)"):
        kernel_distance_of_all(features(4, 3, 0), features(5, 2, 0))
