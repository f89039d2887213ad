"""Pictures from a network in training, with the latents that every other part of the project draws."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision.utils import make_grid

from handlers.latents import draw_latents
from handlers.session import to_uint8
from sngan_train.models import Generator

GRID_COLUMNS = 10
MAX_GRID_ROWS = 20
GRID_SEED = 0


@torch.no_grad()
def sample_grid(generator: Generator, num_classes: int) -> NDArray[np.uint8]:
    """A row a class (the first 20), the same latents down each column's images at every step: uint8 (H, W, C)."""
    rows = min(num_classes, MAX_GRID_ROWS)
    device = generator.norm.weight.device
    latents = torch.from_numpy(draw_latents(GRID_SEED, range(rows * GRID_COLUMNS), generator.latent_dim))
    labels = torch.arange(rows).repeat_interleave(GRID_COLUMNS)
    images = [
        generator(z.to(device), y.to(device)).float().cpu().numpy()
        for z, y in zip(torch.split(latents, GRID_COLUMNS), torch.split(labels, GRID_COLUMNS), strict=True)
    ]
    pixels = torch.from_numpy(to_uint8(np.concatenate(images))).permute(0, 3, 1, 2)  # (N, C, H, W)
    grid: NDArray[np.uint8] = make_grid(pixels, nrow=GRID_COLUMNS, padding=2, pad_value=255).permute(1, 2, 0).numpy()
    return grid


def write_png(pixels: NDArray[np.uint8], path: Path) -> None:
    """Write uint8 (H, W, 3) to `path`, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    Image.fromarray(pixels).save(partial, format="PNG")
    partial.replace(path)
