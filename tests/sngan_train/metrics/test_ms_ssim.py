"""MS-SSIM against a second writing on SciPy's filters and known ends of the scale."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.ndimage
import torch
from torch import Tensor

from sngan_train.errors import ConfigError
from sngan_train.metrics.ms_ssim import intra_class_ms_ssim, ms_ssim, random_pairs, scales_of

FLOAT32 = 1e-4  # σ² is the difference of float32 squares of up to 255²
WEIGHTS = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])


def images(count: int, size: int, seed: int, channels: int = 3) -> Tensor:
    """Blobs common to all, and blobs and noise of each image's own."""
    generator = np.random.default_rng(seed)
    common = scipy.ndimage.gaussian_filter(generator.normal(size=(channels, size, size)), (0, 4, 4))
    own = scipy.ndimage.gaussian_filter(generator.normal(size=(count, channels, size, size)), (0, 0, 2, 2))
    mixed = 128.0 + 600.0 * common + 150.0 * own + 4.0 * generator.normal(size=own.shape)
    return torch.from_numpy(np.clip(np.rint(mixed), 0, 255).astype(np.uint8))


def second_writing(first: Tensor, second: Tensor, scales: int) -> float:
    """Wang et al. 2003, of two images (C, S, S), channels filtered one by one and averaged together."""

    def window(image: Any) -> Any:
        return scipy.ndimage.gaussian_filter(image, (0, 1.5, 1.5), mode="mirror", radius=(0, 5, 5))

    def halved(image: Any) -> Any:
        even = image[:, : image.shape[1] // 2 * 2, : image.shape[2] // 2 * 2]
        return (even[:, ::2, ::2] + even[:, 1::2, ::2] + even[:, ::2, 1::2] + even[:, 1::2, 1::2]) / 4.0

    x, y = first.double().numpy(), second.double().numpy()
    factors = []
    for scale in range(scales):
        mean_x, mean_y = window(x), window(y)
        variances = window(x * x) - mean_x**2 + window(y * y) - mean_y**2
        contrast = (2.0 * (window(x * y) - mean_x * mean_y) + 7.65**2) / (variances + 7.65**2)
        luminance = (2.0 * mean_x * mean_y + 2.55**2) / (mean_x**2 + mean_y**2 + 2.55**2)
        inner = contrast[:, 5:-5, 5:-5]  # torchmetrics leaves the border out of all scales but the last
        factors.append((contrast * luminance).mean() if scale == scales - 1 else inner.mean())
        x, y = halved(x), halved(y)
    weights = WEIGHTS[:scales] / WEIGHTS[:scales].sum()
    return float(np.prod(np.maximum(factors, 0.0) ** weights))


@pytest.mark.parametrize(
    ("size", "scales"), [(16, 1), (21, 1), (22, 2), (28, 2), (32, 2), (48, 3), (64, 3), (96, 3), (128, 4), (256, 5)]
)
def test_every_size_against_a_second_writing(size: int, scales: int) -> None:
    assert scales_of(size) == scales
    first, second = images(2, size, size, channels=1)[:, None]
    similarity = ms_ssim(first, second).item()
    assert 0.05 < similarity < 0.98
    assert similarity == pytest.approx(second_writing(first[0], second[0], scales), abs=FLOAT32)


@pytest.mark.parametrize("size", [11, 22, 44, 99, 176])
def test_the_smallest_sides_work_and_one_pixel_less_has_a_scale_less(size: int) -> None:
    pair = images(2, size, 0, channels=1)
    assert 0.0 < ms_ssim(pair[:1], pair[1:]).item() < 1.0
    if size > 11:
        assert scales_of(size - 1) == scales_of(size) - 1


def test_colour_images() -> None:
    batch = images(4, 48, 0)
    expected = [second_writing(batch[0], batch[2], 3), second_writing(batch[1], batch[3], 3)]
    assert ms_ssim(batch[:2], batch[2:]).tolist() == pytest.approx(expected, abs=FLOAT32)


def test_the_ends_of_the_scale() -> None:
    batch = images(1, 64, 0)
    assert ms_ssim(batch, batch).item() == pytest.approx(1.0, abs=1e-6)
    assert ms_ssim(batch, 255 - batch).item() == 0.0


def test_the_mean_over_all_pairs_of_each_class() -> None:
    batch, labels = images(7, 16, 0, channels=1), torch.tensor([2, 0, 2, 0, 0, 2, 0])
    result = intra_class_ms_ssim(batch, labels, 100, seed=0)
    expected = {}
    for label in (0, 2):
        members = batch[labels == label]
        pairs = [(i, j) for i in range(len(members)) for j in range(i)]
        expected[label] = np.mean([second_writing(members[i], members[j], 1) for i, j in pairs])
    assert result.per_class == pytest.approx(expected, abs=FLOAT32)
    assert result.mean == pytest.approx(np.mean(list(expected.values())), abs=FLOAT32)
    assert result.description == "1 of 5 scales, 11x11 window"


def test_diversity_is_told_from_repetition() -> None:
    diverse, repeated = images(12, 32, 0), images(1, 32, 1).repeat(12, 1, 1, 1)
    labels = torch.arange(24) // 12
    result = intra_class_ms_ssim(torch.cat([diverse, repeated]), labels, 20, seed=0)
    assert result.per_class[1] == pytest.approx(1.0, abs=1e-6)
    assert result.per_class[0] < 0.9
    assert result.description == "2 of 5 scales, 11x11 window"


def test_batches_do_not_matter_and_the_seed_chooses_the_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    batch, labels = images(20, 16, 0, channels=1), torch.zeros(20, dtype=torch.int64)
    whole, other = (intra_class_ms_ssim(batch, labels, 15, seed=seed) for seed in (0, 1))
    monkeypatch.setattr("sngan_train.metrics.ms_ssim.PIXELS_AT_A_TIME", 4 * 16 * 16)
    assert intra_class_ms_ssim(batch, labels, 15, seed=0).mean == pytest.approx(whole.mean, abs=1e-6)
    assert abs(other.mean - whole.mean) > 1e-4


@pytest.mark.parametrize(("count", "pairs"), [(2, 5), (3, 3), (9, 36), (9, 100), (9, 10), (200, 50), (100_000, 1000)])
def test_pairs_are_different_and_in_range(count: int, pairs: int) -> None:
    chosen = random_pairs(count, pairs, [0, 1])
    assert len(chosen) == min(pairs, count * (count - 1) // 2)
    assert len({tuple(pair) for pair in chosen.tolist()}) == len(chosen)
    assert (chosen[:, 0] >= 0).all()
    assert (chosen[:, 0] < chosen[:, 1]).all()
    assert (chosen[:, 1] < count).all()


def test_pairs_are_uniform() -> None:
    counts: dict[tuple[int, int], int] = {}
    for seed in range(2000):
        for smaller, larger in random_pairs(5, 3, [seed]).tolist():
            counts[smaller, larger] = counts.get((smaller, larger), 0) + 1
    assert len(counts) == 10
    assert scipy.stats.chisquare(list(counts.values())).pvalue > 1e-3


def test_what_is_refused() -> None:
    batch = images(4, 16, 0, channels=1)
    with pytest.raises(ConfigError, match="class 7 has one image"):
        intra_class_ms_ssim(batch, torch.tensor([0, 0, 0, 7]), seed=0)
    with pytest.raises(ConfigError, match="these have 8"):
        intra_class_ms_ssim(batch[:, :, :8, :8], torch.zeros(4, dtype=torch.int64), seed=0)
    with pytest.raises(ConfigError, match="pairs_per_class is at least 1"):
        intra_class_ms_ssim(batch, torch.zeros(4, dtype=torch.int64), 0, seed=0)
    with pytest.raises(ValueError, match="images are uint8"):
        intra_class_ms_ssim(batch.float(), torch.zeros(4, dtype=torch.int64), seed=0)
