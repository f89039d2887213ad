from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence

from sngan_train.animation import CAPTION_HEIGHT, LAST_FRAME_MS, MAX_FRAMES, MAX_SIDE, write_animation
from sngan_train.sampling import write_png

GREY_TOLERANCE = 3  # WebP is lossy; a flat grey survives within this


def milestones(folder: Path, count: int, *, side: int = 30) -> Path:
    """Grids at steps 100, 200 …, each flat and 4 grey levels lighter than the one before."""
    for number in range(count):
        write_png(np.full((side, side, 3), 4 * (number % 60), np.uint8), folder / f"step-{(number + 1) * 100:06d}.png")
    return folder


def greys(path: Path) -> list[int]:
    with Image.open(path) as film:
        frames = [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(film)]
    return [int(frame[frame.shape[0] // 2, frame.shape[1] // 2, 0]) for frame in frames]


def test_every_milestone_is_a_frame_in_the_order_of_the_steps(tmp_path: Path) -> None:
    folder = milestones(tmp_path / "samples", 12)
    write_png(np.zeros((30, 30, 3), np.uint8), folder / "best.png")  # somebody else's
    path = write_animation(folder, tmp_path / "progress.webp")
    assert path == tmp_path / "progress.webp"
    assert greys(path) == pytest.approx([4 * number for number in range(12)], abs=GREY_TOLERANCE)
    with Image.open(path) as film:
        assert film.size == (780, 780 + CAPTION_HEIGHT)  # 26 whole times as large
        film.seek(11)
        film.load()
        assert film.info["duration"] == LAST_FRAME_MS
        caption = np.asarray(film.convert("L"))[:CAPTION_HEIGHT]
    assert caption.min() < 100 < 200 < caption.max()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["progress.webp", "samples"]


def test_a_long_run_keeps_its_ends_and_a_bounded_length(tmp_path: Path) -> None:
    folder = milestones(tmp_path / "samples", 3 * MAX_FRAMES)
    write_png(np.full((30, 30, 3), 255, np.uint8), folder / "step-999999.png")
    path = write_animation(folder, tmp_path / "progress.webp")
    assert path is not None
    shown = greys(path)
    assert len(shown) == MAX_FRAMES
    assert shown[0] == pytest.approx(0, abs=GREY_TOLERANCE)
    assert shown[-1] == pytest.approx(255, abs=GREY_TOLERANCE)


def test_a_large_grid_is_made_smaller(tmp_path: Path) -> None:
    path = write_animation(milestones(tmp_path / "samples", 2, side=1300), tmp_path / "progress.webp")
    assert path is not None
    with Image.open(path) as film:
        assert film.size == (MAX_SIDE, MAX_SIDE + CAPTION_HEIGHT)


def test_a_run_without_milestones_has_no_film(tmp_path: Path) -> None:
    assert write_animation(tmp_path / "samples", tmp_path / "progress.webp") is None
    assert list(tmp_path.iterdir()) == []
