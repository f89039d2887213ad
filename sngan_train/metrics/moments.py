"""Mean and covariance of features that arrive in batches, in float64 and in memory independent of their number."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# A batch of any size is taken in parts of this many rows, so that its float64 copy stays small.
ROWS_AT_A_TIME = 4096


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Moments:
    """What a Fréchet distance needs of a set of features.

    Attributes:
        count: number of feature vectors, at least 2.
        mean: float64 (D,).
        covariance: float64 (D, D), symmetric, divided by count − 1 as `numpy.cov` does.
    """

    count: int
    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]

    @property
    def feature_dim(self) -> int:
        """D."""
        return int(self.mean.shape[0])


class RunningMoments:
    """The moments of all features added so far; equal, but for rounding, for every cut into batches and every order.

    It keeps the mean and the sum of outer products of the *deviations* from it, and joins two sets by the formula of
    Chan, Golub & LeVeque 1979. A sum of squares less a product of sums would lose the digits that the mean and the
    spread do not share.
    """

    def __init__(self, feature_dim: int) -> None:
        if feature_dim < 1:
            raise ValueError(f"feature_dim is at least 1, got {feature_dim}")
        self._count = 0
        self._mean = torch.zeros(feature_dim, dtype=torch.float64)
        self._scatter = torch.zeros(feature_dim, feature_dim, dtype=torch.float64)  # Σ (x − mean)(x − mean)ᵀ

    @property
    def feature_dim(self) -> int:
        """D."""
        return len(self._mean)

    @property
    def count(self) -> int:
        """Number of feature vectors so far."""
        return self._count

    @property
    def mean(self) -> NDArray[np.float64]:
        """Float64 (D,), a copy; zeros before the first feature."""
        mean: NDArray[np.float64] = self._mean.numpy().copy()
        return mean

    @property
    def covariance(self) -> NDArray[np.float64]:
        """Float64 (D, D), divided by count − 1.

        Raises:
            ValueError: fewer than two features.
        """
        if self._count < 2:
            raise ValueError(f"a covariance needs at least 2 feature vectors, there are {self._count}")
        covariance: NDArray[np.float64] = (self._scatter / (self._count - 1)).numpy()
        return covariance

    def add(self, features: Tensor) -> None:
        """Take in `features`, floating (n, D) on the CPU; n may be 0.

        Raises:
            ValueError: another shape, or a value that is not finite.
        """
        if features.ndim != 2 or features.shape[1] != self.feature_dim:
            raise ValueError(f"features are (n, {self.feature_dim}), got {tuple(features.shape)}")
        if not torch.isfinite(features).all():
            raise ValueError("features hold values that are not finite")
        for part in torch.split(features.detach(), ROWS_AT_A_TIME):
            if len(part):
                part = part.double()
                mean = part.mean(dim=0)
                part = part - mean
                self._join(len(part), mean)
                self._scatter.addmm_(part.t(), part)

    def merge(self, other: RunningMoments) -> None:
        """Take in all that `other` has, as another process counted it; `other` stays as it is.

        Raises:
            ValueError: features of another length.
        """
        if other.feature_dim != self.feature_dim:
            raise ValueError(f"moments of {other.feature_dim} features do not merge with those of {self.feature_dim}")
        if other._count:
            self._join(other._count, other._mean)
            self._scatter += other._scatter

    def _join(self, count: int, mean: Tensor) -> None:
        """Move to the common mean; the scatter of the newcomers about their own mean is the caller's to add."""
        total = self._count + count
        shift = mean - self._mean
        self._scatter.addr_(shift, shift, alpha=self._count * count / total)
        self._mean += shift * (count / total)
        self._count = total

    def moments(self) -> Moments:
        """What has been added so far; later additions do not change it.

        Raises:
            ValueError: fewer than two features.
        """
        return Moments(count=self._count, mean=self.mean, covariance=self.covariance)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """For an .npz file: `count` int64 (), `mean` float64 (D,), `scatter` float64 (D, D)."""
        return {
            "count": np.array(self._count, dtype=np.int64),
            "mean": self.mean,
            "scatter": self._scatter.numpy().copy(),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> RunningMoments:
        """The reverse of `to_arrays`, to the bit; further names in `arrays` are left alone.

        Raises:
            KeyError: an array is missing.
            ValueError: shapes or the count do not fit.
        """
        mean, scatter, count = arrays["mean"], arrays["scatter"], int(arrays["count"])
        if mean.ndim != 1 or scatter.shape != (len(mean), len(mean)) or count < 0:
            raise ValueError(f"not moments: mean {mean.shape}, scatter {scatter.shape}, count {count}")
        moments = cls(len(mean))
        moments._count = count
        moments._mean = torch.tensor(mean, dtype=torch.float64)
        moments._scatter = torch.tensor(scatter, dtype=torch.float64)
        return moments
