"""The demo's own measurement tells good digits from bad ones. The demo itself is run by the README's test."""

from pathlib import Path

import numpy as np
import pytest

from sngan_cli import demo
from sngan_cli.demo import MIN_AGREEMENT, MIN_VARIETY, measure
from sngan_cli.errors import CommandError, UsageError
from sngan_train.sources import digits_images

PER_CLASS = 50


def test_only_a_folder_of_its_own_is_emptied(tmp_path: Path) -> None:
    mine = tmp_path / "run" / "precious.txt"
    mine.parent.mkdir()
    mine.write_text("mine")
    with pytest.raises(UsageError, match="was not made by the demo"):
        demo._make_empty(tmp_path)
    assert mine.read_text() == "mine"
    with pytest.raises(UsageError, match="was not made by the demo"):
        demo._make_empty(mine)
    with pytest.raises(CommandError, match="cannot be written to"):
        demo._make_empty(mine / "below")

    own = tmp_path / "own"
    demo._make_empty(own)
    (own / "old.png").touch()
    demo._make_empty(own)
    assert [path.name for path in own.iterdir()] == [demo.MARKER]


@pytest.fixture(scope="module")
def real() -> np.ndarray:
    images, labels = digits_images(16)
    return np.stack([images[labels == digit][:PER_CLASS] for digit in range(10)])


def test_real_digits_pass(real: np.ndarray) -> None:
    agreement, variety = measure(real)
    assert agreement >= MIN_AGREEMENT
    assert variety == pytest.approx(1.0, abs=0.1)


def test_wrong_classes_fail(real: np.ndarray) -> None:
    agreement, _ = measure(np.roll(real, 1, axis=0))
    assert agreement < 0.1


def test_noise_fails() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (10, PER_CLASS, 16, 16), dtype=np.uint8)
    assert measure(noise)[0] < 0.5


def test_one_image_a_class_has_no_variety(real: np.ndarray) -> None:
    collapsed = np.repeat(real[:, :1], PER_CLASS, axis=1)
    agreement, variety = measure(collapsed)
    assert agreement >= 0.9
    assert variety == 0.0
    assert variety < MIN_VARIETY
