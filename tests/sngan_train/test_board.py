"""The event files, read back with TensorBoard's own reader."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sngan_train.board import Board, open_board


def open_here(folder: Path, start_step: int = 0) -> Board:
    board = open_board(folder, start_step)
    assert board is not None
    return board


def read(folder: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0, "histograms": 0})
    accumulator.Reload()
    return accumulator


def curve(folder: Path, tag: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in read(folder).Scalars(tag)]


def test_scalars_pictures_and_histograms_are_read_back(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 4, 3), dtype=np.uint8)
    values = np.array([1.0, 0.51, 0.5, 0.03])
    board = open_here(tmp_path)
    board.scalars("training", {"discriminator_loss": 0.5, "generator_loss": -0.25}, 3)
    board.image("samples/fixed_latents", pixels, 3)
    board.unit_histogram("squares/first", values, 3)
    board.close()

    assert curve(tmp_path, "training/discriminator_loss") == [(3, 0.5)]
    assert curve(tmp_path, "training/generator_loss") == [(3, -0.25)]
    events = read(tmp_path)
    (image,) = events.Images("samples/fixed_latents")
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(image.encoded_image_string))), pixels)
    histogram = events.Histograms("squares/first")[0].histogram_value
    assert (histogram.num, histogram.max) == (4, 1.0)
    filled = [high for high, count in zip(histogram.bucket_limit, histogram.bucket, strict=True) if count]
    assert filled == pytest.approx([0.04, 0.52, 1.0])


def test_steps_that_will_be_done_again_are_hidden(tmp_path: Path) -> None:
    board = open_here(tmp_path)
    for step in (10, 20, 30):
        board.scalars("a", {"b": step}, step)
    board.close()
    board = open_here(tmp_path, start_step=20)
    board.scalars("a", {"b": -25.0}, 25)
    board.close()
    assert curve(tmp_path, "a/b") == [(10, 10.0), (20, 20.0), (25, -25.0)]


def test_a_killed_process_leaves_what_it_flushed_and_the_next_goes_on(tmp_path: Path) -> None:
    script = f"""
import os, signal
from pathlib import Path
from sngan_train.board import open_board
board = open_board(Path({str(tmp_path)!r}), 0)
board.scalars("a", {{"b": 1.0}}, 1)
board.flush()
board.scalars("a", {{"b": 2.0}}, 2)
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    (file,) = tmp_path.iterdir()
    with file.open("ab") as torn:
        torn.write(b"\x18\x00\x00")  # the first bytes of a record that was never finished
    assert (1, 1.0) in curve(tmp_path, "a/b")
    board = open_here(tmp_path, start_step=1)
    board.scalars("a", {"b": -2.0}, 2)
    board.close()
    assert curve(tmp_path, "a/b") == [(1, 1.0), (2, -2.0)]


def test_without_tensorboard_there_is_no_board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    assert open_board(tmp_path, 0) is None
    assert list(tmp_path.iterdir()) == []
