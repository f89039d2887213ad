from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sngan_train.curves import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, ticks, write_losses


def test_the_curves_are_where_the_numbers_are(tmp_path: Path) -> None:
    records = [{"step": step, "discriminator_loss": 2.0, "generator_loss": -2.0} for step in range(10, 3010, 10)]
    records.insert(5, {"step": 60, "warning": "not a loss"})
    path = write_losses(records, tmp_path / "losses.png")
    assert path is not None
    with Image.open(path) as image:
        pixels = np.asarray(image).astype(int)
    assert pixels.shape == (HEIGHT, WIDTH, 3)
    middle = pixels[:, WIDTH // 2]
    blue = np.flatnonzero(middle[:, 2] - middle[:, 0] > 80)
    orange = np.flatnonzero(middle[:, 0] - middle[:, 2] > 80)
    assert blue == pytest.approx(TOP, abs=2)  # the largest value of all is the top of the plot
    assert orange == pytest.approx(HEIGHT - BOTTOM, abs=2)
    across = np.flatnonzero(pixels[TOP, :, 2] - pixels[TOP, :, 0] > 80)
    assert (across.min(), across.max()) == pytest.approx((LEFT, WIDTH - RIGHT), abs=2)


@pytest.mark.parametrize("count", [1, 2, 5000])
def test_runs_of_any_length_are_drawn(count: int, tmp_path: Path) -> None:
    records = [{"step": step, "discriminator_loss": 1.0, "generator_loss": 1.0} for step in range(count)]
    assert write_losses(records, tmp_path / "losses.png")


def test_without_losses_nothing_is_drawn(tmp_path: Path) -> None:
    assert write_losses([{"step": 1, "warning": "x"}], tmp_path / "losses.png") is None
    assert list(tmp_path.iterdir()) == []


def test_ticks_are_round_and_inside() -> None:
    assert ticks(0.0, 50_000.0) == [0, 10_000, 20_000, 30_000, 40_000, 50_000]
    assert ticks(-0.93, 1.71) == pytest.approx([-0.5, 0.0, 0.5, 1.0, 1.5])
