"""How far two sets of pictures are apart, pixel by pixel, without keeping the pictures."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

PEAK = 255  # the largest level of a byte


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class PixelDifference:
    """Of all pictures together; a value is one channel of one pixel.

    Attributes:
        num_images: pairs compared.
        mean_squared_error: mean over all values of (difference in levels)².
        worst_image_mean_squared_error: the largest of the same mean over one picture.
        off_by_more_than_one: share of the values that differ by two levels or more, 0 to 1.
    """

    num_images: int
    mean_squared_error: float
    worst_image_mean_squared_error: float
    off_by_more_than_one: float

    @property
    def psnr_db(self) -> float:
        """Peak signal-to-noise ratio of all values together; ∞ where nothing differs."""
        return psnr_db(self.mean_squared_error)

    @property
    def worst_image_psnr_db(self) -> float:
        """The same of the picture that differs most."""
        return psnr_db(self.worst_image_mean_squared_error)


def psnr_db(mean_squared_error: float) -> float:
    """10 · log10(255² / mean squared error), in decibel; ∞ for 0."""
    return 10.0 * math.log10(PEAK**2 / mean_squared_error) if mean_squared_error > 0.0 else math.inf


class PixelDifferenceSum:
    """Adds up a PixelDifference, batch by batch."""

    def __init__(self) -> None:
        self._images = 0
        self._values = 0
        self._squares = 0
        self._worst = 0.0
        self._off = 0

    def add(self, levels: NDArray[np.uint8], reference: NDArray[np.uint8]) -> None:
        """Compare pictures with pictures of the same place; both uint8 (n, height, width, channels)."""
        assert levels.dtype == reference.dtype == np.uint8, (levels.dtype, reference.dtype)
        assert levels.shape == reference.shape, (levels.shape, reference.shape)
        difference = levels.astype(np.int64) - reference
        squares = (difference**2).sum(axis=(1, 2, 3))
        self._images += len(levels)
        self._values += difference.size
        self._squares += int(squares.sum())
        self._worst = max(self._worst, float(squares.max()) / (difference.size // len(levels)))
        self._off += int((np.abs(difference) > 1).sum())

    def result(self) -> PixelDifference:
        """Of everything added, at least one picture."""
        assert self._images, "nothing was compared"
        return PixelDifference(
            num_images=self._images,
            mean_squared_error=self._squares / self._values,
            worst_image_mean_squared_error=self._worst,
            off_by_more_than_one=self._off / self._values,
        )
