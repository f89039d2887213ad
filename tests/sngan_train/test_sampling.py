from pathlib import Path

import numpy as np
import torch
from PIL import Image

from handlers.latents import draw_latents
from sngan_train.config import RunConfig
from sngan_train.models import build_generator
from sngan_train.models.spectral_norm import SigmaSource, set_exact_sigma
from sngan_train.sampling import GRID_COLUMNS, GRID_SEED, sample_grid, write_png


def test_the_grid_has_a_row_a_class_of_the_latents_that_everything_else_draws(tiny_config: RunConfig) -> None:
    torch.manual_seed(0)
    generator = build_generator(tiny_config, 3, source=SigmaSource.FIXED).eval()
    set_exact_sigma(generator)
    grid = sample_grid(generator, 3)
    assert grid.shape == (3 * 18 + 2, GRID_COLUMNS * 18 + 2, 3)
    row, column = 2, 4
    z = torch.from_numpy(draw_latents(GRID_SEED, [row * GRID_COLUMNS + column], 8))
    with torch.no_grad():
        image = generator(z, torch.tensor([row]))[0, 0].numpy()
    expected = np.clip(np.rint((image + 1.0) * 127.5), 0, 255)
    top, left = row * 18 + 2, column * 18 + 2
    shown = grid[top : top + 16, left : left + 16, 0].astype(float)
    assert np.abs(shown - expected).max() <= 1.0  # a batch of ten rounds in another order than one alone
    assert sample_grid(generator, 3).tobytes() == grid.tobytes()


def test_a_png_is_whole_or_absent(tmp_path: Path) -> None:
    pixels = np.arange(4 * 4 * 3, dtype=np.uint8).reshape(4, 4, 3)
    write_png(pixels, tmp_path / "a" / "x.png")
    with Image.open(tmp_path / "a" / "x.png") as image:
        assert np.array_equal(np.asarray(image), pixels)
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["x.png"]
