"""Pictures from a network in training, with the latents that every other part of the project draws."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torchvision.utils import make_grid

from handlers.latents import draw_latents
from handlers.session import to_uint8
from sngan_train.models import Generator

GRID_COLUMNS = 10
MAX_GRID_ROWS = 20
UNCONDITIONAL_ROWS = 10
GRID_SEED = 0
PADDING = 2  # pixels between images
NAME_SIZE = 10  # pixels; fits beside the smallest image
MAX_NAME_LENGTH = 16


@torch.no_grad()
def fixed_images(generator: Generator, num_classes: int) -> NDArray[np.float32]:
    """Images of the same latents at every step: (rows, columns, C, S, S) in [-1, 1].

    Row i holds class i, for the first 20 classes; an unconditional generator has ten rows of ten.
    """
    rows = min(num_classes, MAX_GRID_ROWS) if generator.conditional else UNCONDITIONAL_ROWS
    device = next(generator.parameters()).device
    latents = draw_latents(
        GRID_SEED,
        range(rows * GRID_COLUMNS),
        generator.latent_dim,
        distribution=generator.latent_distribution,
    )
    images = []
    for row, z in enumerate(torch.split(torch.from_numpy(latents).to(device), GRID_COLUMNS)):
        label = torch.full((GRID_COLUMNS,), row, device=device) if generator.conditional else None
        images.append(generator(z, label).float().cpu().numpy())
    return np.stack(images)


def latent_spread(images: NDArray[np.float32], class_names: Sequence[str]) -> dict[str, float]:
    """How much the images of a class differ: mean over pixels of the standard deviation over latents, in [0, 1].

    Args:
        images: as `fixed_images` gives them.
        class_names: of the rows; empty if they are no classes, and then "all" images are taken together.
    """
    if not class_names:
        images, class_names = images.reshape(1, -1, *images.shape[2:]), ("all",)
    return {name: float(row.std(axis=0).mean()) for name, row in zip(class_names, images, strict=True)}


def grid(images: NDArray[np.float32], class_names: Sequence[str]) -> NDArray[np.uint8]:
    """`images` of `fixed_images` as one picture, the classes' names (or nothing) beside the rows: uint8 (H, W, 3)."""
    flat = images.reshape(-1, *images.shape[2:])
    pixels = torch.from_numpy(to_uint8(flat)).permute(0, 3, 1, 2)  # (N, C, S, S)
    picture = make_grid(pixels, nrow=images.shape[1], padding=PADDING, pad_value=255).permute(1, 2, 0).numpy()
    return np.hstack([_names(class_names, row_height=images.shape[-1] + PADDING, height=len(picture)), picture])


def write_png(pixels: NDArray[np.uint8], path: Path) -> None:
    """Write uint8 (H, W, 3) to `path`, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    Image.fromarray(pixels).save(partial, format="PNG")
    partial.replace(path)


def _names(names: Sequence[str], row_height: int, height: int) -> NDArray[np.uint8]:
    """A white strip with a name a row, right-aligned: uint8 (height, as wide as needed, 3)."""
    font = ImageFont.load_default(NAME_SIZE)
    shown = [name if len(name) <= MAX_NAME_LENGTH else name[: MAX_NAME_LENGTH - 1] + "…" for name in names]
    width = round(max((font.getlength(name) for name in shown), default=-2 * PADDING)) + 2 * PADDING
    strip = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(strip)
    for row, name in enumerate(shown):
        middle = PADDING + row * row_height + row_height // 2
        draw.text((width - PADDING, middle), name, fill="black", font=font, anchor="rm")
    return np.asarray(strip)
