"""DiffAugment: the discriminator sees real and generated images through the same random, differentiable changes.

For data sets so small that it would learn them by heart. Source: Zhao et al. 2020, "Differentiable Augmentation for
Data-Efficient GAN Training", with the strengths of its public code. Images (N, C, S, S) in [-1, 1].
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from sngan_train.noise import Noise

TRANSLATION = 1 / 8  # of a side, at most, in each direction
CUTOUT = 1 / 2  # of a side


def draw_views(names: tuple[str, ...], count: int, noise: Noise) -> dict[str, Tensor]:
    """The random numbers of an update's `count` images: U(0, 1), this process's rows, (n, k) for each name."""
    numbers = {"color": 3, "translation": 2, "cutout": 2}
    return {name: noise.uniform(count, numbers[name]) for name in names}


def view(images: Tensor, draws: dict[str, Tensor]) -> Tensor:
    """`images` through the changes that `draws` (rows in the images' order) say, in the published order."""
    changes = {"color": _color, "translation": _translation, "cutout": _cutout}
    for name, change in changes.items():
        if name in draws:
            images = change(images, draws[name])
    return images


def _color(images: Tensor, draws: Tensor) -> Tensor:
    """Brightness ± 0.5, saturation × 0 ... 2, contrast × 0.5 ... 1.5."""
    brightness, saturation, contrast = (draws[:, k, None, None, None] for k in range(3))
    images = images + (brightness - 0.5)
    grey = images.mean(dim=1, keepdim=True)
    images = (images - grey) * (2.0 * saturation) + grey
    level = images.mean(dim=(1, 2, 3), keepdim=True)
    return (images - level) * (contrast + 0.5) + level


def _translation(images: Tensor, draws: Tensor) -> Tensor:
    """Shift by up to an eighth of a side, zeros coming in."""
    size = images.shape[2]
    reach = int(size * TRANSLATION + 0.5)
    shifts = (draws * (2 * reach + 1)).long()  # (N, 2) in 0 ... 2 · reach
    padded = functional.pad(images, (reach, reach, reach, reach)).permute(0, 2, 3, 1)  # (N, S + 2r, S + 2r, C)
    steps = torch.arange(size, device=images.device)
    rows = (shifts[:, 0, None] + steps)[:, :, None]  # (N, S, 1)
    columns = (shifts[:, 1, None] + steps)[:, None, :]  # (N, 1, S)
    image = torch.arange(len(images), device=images.device)[:, None, None]
    return padded[image, rows, columns].permute(0, 3, 1, 2)


def _cutout(images: Tensor, draws: Tensor) -> Tensor:
    """A square of half a side, anywhere around the image, becomes zero."""
    size = images.shape[2]
    side = int(size * CUTOUT + 0.5)
    centres = (draws * (size + 1 - side % 2)).long()  # (N, 2); the square may stand out of the image
    steps = torch.arange(size, device=images.device)
    starts = centres - side // 2
    covered = (steps >= starts[:, :, None]) & (steps < starts[:, :, None] + side)  # (N, 2, S)
    hole = covered[:, 0, :, None] & covered[:, 1, None, :]  # (N, S, S)
    return images * (~hole)[:, None].to(images.dtype)
