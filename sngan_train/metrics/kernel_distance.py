"""The kernel distance (squared maximum mean discrepancy) of two sets of features; on Inception features, the KID.

The kernel is (x·y / D + 1)³. The estimate is unbiased, so its expectation does not depend on the number of images, and
it may be a little below zero. Source: Bińkowski et al. 2018, "Demystifying MMD GANs".
"""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

from sngan_train.errors import ConfigError

ROWS_AT_A_TIME = 1024


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class KernelDistance:
    """The mean over random subsets, and how it came about.

    Attributes:
        mean: of the estimates of the subsets.
        std_over_subsets: their standard deviation, as `numpy.std` has it: the spread of an estimate from `subset_size`
            images, *not* the uncertainty of `mean`. Subsets that are nearly the whole set hardly differ, so where
            there are not many times `subset_size` images it says little.
        subset_size: images of each set in a subset: as asked for, or all of the smaller set where that has fewer.
    """

    mean: float
    std_over_subsets: float
    subsets: int
    subset_size: int


def kernel_distance(
    real: Tensor, generated: Tensor, *, subsets: int = 100, subset_size: int = 1000, seed: int
) -> KernelDistance:
    """The distance as it is reported: torch-fidelity's, mean over `subsets` random subsets of both sets.

    Args:
        real: float32 (N, D).
        generated: float32 (M, D).
        subsets: how many.
        subset_size: images of either set in each.
        seed: which subsets; equal seeds give equal results, and those of torch-fidelity with that `rng_seed`.

    Raises:
        ConfigError: fewer than two images or no subsets.
        ValueError: features of different lengths.
    """
    from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, KEY_METRIC_KID_STD, kid_features_to_metric

    _check(real, generated)
    if subsets < 1 or subset_size < 2:
        raise ConfigError(f"a kernel distance takes 1 subset of 2 images or more, not {subsets} of {subset_size}")
    size = min(subset_size, len(real), len(generated))
    scores = kid_features_to_metric(
        generated, real, kid_subsets=subsets, kid_subset_size=size, kid_kernel="poly", kid_kernel_poly_degree=3,
        kid_kernel_poly_gamma=None, kid_kernel_poly_coef0=1, rng_seed=seed, verbose=False,
    )  # fmt: skip
    return KernelDistance(
        mean=scores[KEY_METRIC_KID_MEAN],
        std_over_subsets=scores[KEY_METRIC_KID_STD],
        subsets=subsets,
        subset_size=size,
    )


def kernel_distance_of_all(real: Tensor, generated: Tensor) -> float:
    """The unbiased estimate from all images at once, without subsets and so without chance; in float64.

    It has less variance than any subset, and is the number to compare by. torch-fidelity has none for sets of two
    sizes.

    Args:
        real: floating (N, D), N ≥ 2.
        generated: floating (M, D), M ≥ 2.

    Raises:
        ConfigError: fewer than two images.
        ValueError: features of different lengths.
    """
    _check(real, generated)
    real, generated = real.double(), generated.double()
    across = _kernel_sum(real, generated) / (len(real) * len(generated))
    return _mean_within(real) + _mean_within(generated) - 2.0 * across


def _check(real: Tensor, generated: Tensor) -> None:
    if real.ndim != 2 or generated.ndim != 2 or real.shape[1] != generated.shape[1]:
        raise ValueError(f"features are (N, D) and (M, D), got {tuple(real.shape)} and {tuple(generated.shape)}")
    if min(len(real), len(generated)) < 2:
        raise ConfigError(
            f"a kernel distance needs 2 images of each kind, got {len(real)} real and {len(generated)} generated"
        )


def _kernel_sum(rows: Tensor, columns: Tensor) -> float:
    """Σᵢⱼ (xᵢ·yⱼ / D + 1)³ over all pairs, a block of rows at a time."""
    return math.fsum(float(_kernel(block, columns).sum()) for block in torch.split(rows, ROWS_AT_A_TIME))


def _mean_within(features: Tensor) -> float:
    """The kernel's mean over pairs of *different* rows, each block of the symmetric matrix computed once."""
    total = 0.0
    for start in range(0, len(features), ROWS_AT_A_TIME):
        block, later = features[start : start + ROWS_AT_A_TIME], features[start + ROWS_AT_A_TIME :]
        square = _kernel(block, block)
        total += float(square.sum() - square.diagonal().sum()) + 2.0 * _kernel_sum(block, later)
    return total / (len(features) * (len(features) - 1))


def _kernel(rows: Tensor, columns: Tensor) -> Tensor:
    return (rows @ columns.t()).div_(rows.shape[1]).add_(1.0).pow_(3)
