from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from handlers.latents import draw_latents
from sngan_train.config import RunConfig
from sngan_train.models import Generator, build_generator
from sngan_train.models.spectral_norm import SigmaSource, set_exact_sigma
from sngan_train.sampling import GRID_COLUMNS, GRID_SEED, fixed_images, grid, latent_spread, write_png

# In [-1, 1], a thousandth of a grey level: a batch of ten rounds in another order than one image alone.
BATCH_TOLERANCE = 1e-5


def make_generator(config: RunConfig, num_classes: int = 3) -> Generator:
    torch.manual_seed(0)
    generator = build_generator(config, num_classes, source=SigmaSource.FIXED).eval()
    for module in generator.modules():
        if isinstance(module, torch.nn.Embedding):  # fresh class tables are the same for all classes
            torch.nn.init.normal_(module.weight)
    set_exact_sigma(generator)
    return generator


def test_a_row_a_class_of_the_latents_that_everything_else_draws(tiny_config: RunConfig) -> None:
    generator = make_generator(tiny_config)
    images = fixed_images(generator, 3)
    assert images.shape == (3, GRID_COLUMNS, 1, 16, 16)
    row, column = 2, 4
    z = torch.from_numpy(draw_latents(GRID_SEED, [row * GRID_COLUMNS + column], 8))
    with torch.no_grad():
        alone = generator(z, torch.tensor([row]))[0].numpy()
    assert np.abs(images[row, column] - alone).max() <= BATCH_TOLERANCE
    assert fixed_images(generator, 3).tobytes() == images.tobytes()


def test_an_unconditional_generator_draws_a_square_of_its_own_latents(tiny_config: RunConfig) -> None:
    config = tiny_config.override(
        {"discriminator": {"conditioning": "none"}, "generator": {"latent_distribution": "uniform"}}
    )
    generator = make_generator(config)
    images = fixed_images(generator, 3)
    assert images.shape == (10, 10, 1, 16, 16)
    z = torch.from_numpy(draw_latents(GRID_SEED, [57], 8, distribution="uniform"))
    with torch.no_grad():
        alone = generator(z)[0].numpy()
    assert np.abs(images[5, 7] - alone).max() <= BATCH_TOLERANCE


def test_the_grid_shows_the_images_and_the_names() -> None:
    images = np.random.default_rng(0).uniform(-1, 1, (2, GRID_COLUMNS, 1, 16, 16)).astype(np.float32)
    plain, named = grid(images, ()), grid(images, ("cat", "a very long name of a class"))
    assert plain.shape == (2 * 18 + 2, GRID_COLUMNS * 18 + 2, 3)
    expected = np.clip(np.rint((images[1, 4, 0] + 1.0) * 127.5), 0, 255)
    assert np.array_equal(plain[20:36, 74:90, 0], expected)
    assert np.array_equal(named[:, -plain.shape[1] :], plain)
    strip = named[:, : -plain.shape[1]]
    for rows in (slice(2, 18), slice(20, 36)):
        assert (strip[rows] < 128).any()  # something is written beside each row
    assert (strip[:, 0] == 255).all()  # and nothing cut off
    assert grid(images, ("cat", "a very long name of a class")).tobytes() == named.tobytes()


def test_spread_is_the_deviation_over_latents_within_a_class() -> None:
    images = np.zeros((2, GRID_COLUMNS, 3, 4, 4), np.float32)
    images[0, ::2] = 0.5
    images[0, 1::2] = -0.5  # ± 0.5 in equal parts: a deviation of 0.5
    images[1] = np.linspace(-1, 1, 16).reshape(4, 4)  # a rich picture, the same for every latent
    assert latent_spread(images, ("varied", "collapsed")) == {
        "varied": pytest.approx(0.5),
        "collapsed": pytest.approx(0, abs=1e-6),
    }
    images[1] = 0.0
    assert latent_spread(images, ()) == {"all": pytest.approx(0.5 / np.sqrt(2), rel=1e-6)}


def test_a_png_is_whole_or_absent(tmp_path: Path) -> None:
    pixels = np.arange(4 * 4 * 3, dtype=np.uint8).reshape(4, 4, 3)
    write_png(pixels, tmp_path / "a" / "x.png")
    with Image.open(tmp_path / "a" / "x.png") as image:
        assert np.array_equal(np.asarray(image), pixels)
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["x.png"]
