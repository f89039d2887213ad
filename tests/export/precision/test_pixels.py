from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from export.precision.pixels import PixelDifferenceSum


def pictures(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 6, 5, 3), dtype=np.uint8)


def test_psnr_is_torchmetrics_over_all_pictures_whatever_the_batches() -> None:
    functional = pytest.importorskip("torchmetrics.functional.image")
    levels, reference = pictures(10, 0), pictures(10, 1)
    total = PixelDifferenceSum()
    for start, stop in ((0, 3), (3, 4), (4, 10)):
        total.add(levels[start:stop], reference[start:stop])
    result = total.result()
    expected = functional.peak_signal_noise_ratio(
        torch.from_numpy(levels).double(), torch.from_numpy(reference).double(), data_range=255.0
    )
    assert result.num_images == 10
    assert result.psnr_db == pytest.approx(float(expected), abs=1e-5)  # its logarithm is float32's


def test_one_level_everywhere_is_48_decibel_and_off_by_no_more_than_one() -> None:
    total = PixelDifferenceSum()
    total.add(np.full((2, 4, 4, 1), 101, np.uint8), np.full((2, 4, 4, 1), 100, np.uint8))
    result = total.result()
    assert result.psnr_db == pytest.approx(20 * math.log10(255))
    assert result.off_by_more_than_one == 0.0


def test_a_byte_does_not_wrap_around() -> None:
    total = PixelDifferenceSum()
    total.add(np.zeros((1, 2, 2, 1), np.uint8), np.full((1, 2, 2, 1), 255, np.uint8))
    assert total.result().mean_squared_error == 255.0**2
    assert total.result().psnr_db == pytest.approx(0.0)


def test_equal_pictures_are_infinitely_near() -> None:
    total = PixelDifferenceSum()
    total.add(pictures(3, 0), pictures(3, 0))
    assert total.result().psnr_db == math.inf
    assert total.result().worst_image_psnr_db == math.inf


def test_values_off_by_two_are_counted_and_the_worst_picture_is_found() -> None:
    reference = np.full((2, 2, 5, 1), 100, np.uint8)
    levels = reference.copy()
    levels[1, 0, 0, 0] = 98  # two of 20 values are off by two or more, both in the second picture
    levels[1, 1, 4, 0] = 110
    levels[0, 0, 0, 0] = 99
    total = PixelDifferenceSum()
    total.add(levels, reference)
    result = total.result()
    assert result.off_by_more_than_one == 2 / 20
    assert result.mean_squared_error == (4 + 100 + 1) / 20
    assert result.worst_image_mean_squared_error == (4 + 100) / 10
