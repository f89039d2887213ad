"""Multi-scale structural similarity of pairs of images of one class: how alike the images of a class are.

Low is diverse, 1 is one image over and over. Source: Wang et al. 2003 for the measure, Odena et al. 2017 ("Conditional
image synthesis with auxiliary classifier GANs") for its use on pairs within a class.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sngan_train.errors import ConfigError

WINDOW = 11  # pixels of the Gaussian window, σ = 1.5
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang et al. 2003, finest scale first
# The smallest side for each number of scales. The coarsest of them must still hold the window, which is so from
# 11 · 2^(scales − 1) pixels up; torchmetrics asks for 11 more pixels where there are four.
SMALLEST_SIDES = {5: 176, 4: 99, 3: 44, 2: 22, 1: 11}
PIXELS_AT_A_TIME = 32 * 3 * 128 * 128


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class IntraClassMsSsim:
    """The similarity of random pairs within each class.

    Attributes:
        mean: over the classes, each counted alike.
        per_class: class number → mean over its pairs.
        pairs_per_class: the most pairs that a class has; one with fewer images has all there are.
        description: the scales and the window, e.g. "3 of 5 scales, 11x11 window". Values of different ones do not
            compare.
    """

    mean: float
    per_class: dict[int, float]
    pairs_per_class: int
    description: str


def scales_of(image_size: int) -> int:
    """How many of the five scales an image of `image_size` pixels has: 5 from 176, 4 from 99, 3 from 44, 2 from 22, 1.

    Raises:
        ConfigError: fewer than 11 pixels.
    """
    for scales, smallest in SMALLEST_SIDES.items():
        if image_size >= smallest:
            return scales
    raise ConfigError(f"MS-SSIM needs images of {WINDOW} pixels or more, these have {image_size}")


def ms_ssim(first: Tensor, second: Tensor) -> Tensor:
    """The MS-SSIM of each image of `first` with that at the same place in `second`: float32 (N,), 0 to 1.

    Fewer than five scales are the finest ones, with Wang's weights made to sum to 1; one scale is plain SSIM. A
    negative factor counts as 0.

    Args:
        first: uint8 (N, C, S, S).
        second: the same shape.
    """
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

    weights = SCALE_WEIGHTS[: scales_of(first.shape[-1])]
    similarities: Tensor = multiscale_structural_similarity_index_measure(
        first.float(),
        second.float(),
        data_range=255.0,
        kernel_size=WINDOW,
        sigma=1.5,
        betas=tuple(weight / sum(weights) for weight in weights),
        normalize="relu",
        reduction="none",
    )
    return similarities


def intra_class_ms_ssim(images: Tensor, labels: Tensor, pairs_per_class: int = 100, *, seed: int) -> IntraClassMsSsim:
    """The mean MS-SSIM of random pairs of different images, for every class that occurs in `labels`.

    No pair is taken twice, and the pairs of a class follow from `seed`, its number and how many images it has.

    Args:
        images: uint8 (N, C, S, S).
        labels: integer (N,).
        pairs_per_class: at most; 100 as Odena et al.
        seed: of the choice of pairs.

    Raises:
        ConfigError: a class has one image only, no pairs are asked for, or the images are smaller than the window.
        ValueError: images or labels of another shape or type.
    """
    if images.ndim != 4 or images.dtype != torch.uint8 or labels.shape != images.shape[:1] or not len(images):
        raise ValueError(
            f"images are uint8 (N, C, S, S) and labels (N,), got {images.dtype} {tuple(images.shape)} and "
            f"{tuple(labels.shape)}"
        )
    if pairs_per_class < 1:
        raise ConfigError(f"pairs_per_class is at least 1, got {pairs_per_class}")
    scales = scales_of(images.shape[-1])
    batch_size = max(1, PIXELS_AT_A_TIME // images[0].numel())
    per_class = {}
    for label in np.unique(labels.numpy()).tolist():
        members = torch.nonzero(labels == label).flatten()
        if len(members) < 2:
            raise ConfigError(f"class {label} has one image: intra-class MS-SSIM compares two or more of a class")
        pairs = members[torch.from_numpy(random_pairs(len(members), pairs_per_class, [seed, label]))]  # (P, 2)
        similarities = [ms_ssim(images[part[:, 0]], images[part[:, 1]]) for part in torch.split(pairs, batch_size)]
        per_class[label] = float(torch.cat(similarities).double().mean())
    return IntraClassMsSsim(
        mean=float(np.mean(list(per_class.values()))),
        per_class=per_class,
        pairs_per_class=pairs_per_class,
        description=f"{scales} of {len(SCALE_WEIGHTS)} scales, {WINDOW}x{WINDOW} window",
    )


def random_pairs(count: int, pairs: int, seed: list[int]) -> NDArray[np.int64]:
    """`pairs` different pairs (j, i), j < i < `count`, int64 (P, 2); all there are if there are fewer."""
    there_are = count * (count - 1) // 2
    chosen = np.random.default_rng(seed).choice(there_are, size=min(pairs, there_are), replace=False)
    # Pairs in the order (0,1) (0,2) (1,2) (0,3) …: those of i begin at i(i − 1)/2.
    starts = np.arange(count, dtype=np.int64) * np.arange(-1, count - 1, dtype=np.int64) // 2
    larger = np.searchsorted(starts[1:], chosen, side="right")
    return np.stack([chosen - starts[larger], larger], axis=1)
