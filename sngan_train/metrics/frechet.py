"""The Fréchet distance of two Gaussians, which on Inception features is the FID."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from sngan_train.metrics.moments import Moments

# The distance of few images is biased upwards, and by how much depends on the generator (Chong & Forsyth 2020,
# "Effectively unbiased FID and Inception Score"); Heusel et al. ask for at least this many.
FEWEST_IMAGES = 10_000


def is_rank_deficient(moments: Moments) -> bool:
    """Whether there are too few images for the covariance to have full rank.

    `count` deviations from their own mean span at most count − 1 dimensions.
    """
    return moments.count <= moments.feature_dim


def frechet_distance(first: Moments, second: Moments) -> float:
    """‖μ₁ − μ₂‖² + Tr(Σ₁ + Σ₂ − 2 (Σ₁^½ Σ₂ Σ₁^½)^½): the *squared* 2-Wasserstein distance of the two Gaussians.

    Source: Dowson & Landau 1982; Heusel et al. 2017. The last trace is the sum of the singular values of AᵀB, where
    Σ₁ = AAᵀ and Σ₂ = BBᵀ. So nothing becomes complex, no ε is added to the diagonal, and, as no square root is taken
    of a rounded zero, a singular covariance costs no digits. Some seconds for D = 2048.

    Returns:
        The distance, ≥ 0 but for a rounding of some 1e-15 of the two traces.

    Raises:
        ValueError: features of different lengths.
    """
    if first.feature_dim != second.feature_dim:
        raise ValueError(f"moments of {first.feature_dim} and of {second.feature_dim} features cannot be compared")
    shift = first.mean - second.mean
    with _one_thread():
        overlap = torch.linalg.svdvals(_factor(first).t() @ _factor(second)).sum()
    return float(shift @ shift + np.trace(first.covariance) + np.trace(second.covariance) - 2.0 * overlap.item())


def _factor(moments: Moments) -> Tensor:
    """A (D, rank) with AAᵀ = Σ: Cholesky's, or for a singular matrix, at fifteen times the cost, the eigenvectors'.

    Eigenvalues within the rounding of the largest are the zeros of a singular matrix, and are left out as
    `numpy.linalg.matrix_rank` does: their roots would not be small.
    """
    covariance = torch.from_numpy(moments.covariance)
    if not is_rank_deficient(moments):
        factor: Tensor
        factor, failure = torch.linalg.cholesky_ex(covariance)
        if not failure:
            return factor
    eigenvalues, eigenvectors = torch.linalg.eigh(covariance)  # smallest first
    rounding = float(eigenvalues[-1]) * len(eigenvalues) * np.finfo(np.float64).eps
    kept = eigenvalues > max(rounding, 0.0)
    factor = eigenvectors[:, kept] * eigenvalues[kept].sqrt()
    return factor


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """A decomposition makes its threads wait for one another thousands of times.

    Two threads gain it little where two cores are idle, and cost it ten times its time where they are not.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
