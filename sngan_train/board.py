"""The run in TensorBoard: event files under `tensorboard/` of the run's folder.

TensorBoard is a view, not the record: all it shows is also in `stats.jsonl`, `spectrum.jsonl` and `samples/`. So its
absence does not stop a run, and a killed process may leave out the last seconds of it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

FLUSH_EVERY_S = 30  # what is on the disk is at most so old; TensorBoard itself reloads as often


class Board:
    """An open event file. Its writes go through a thread of TensorBoard's; `flush` and `close` wait for it."""

    def __init__(self, writer: SummaryWriter) -> None:
        self._writer = writer

    def scalars(self, group: str, values: Mapping[str, float], step: int) -> None:
        """One curve a value, `GROUP/NAME`."""
        for name, value in values.items():
            self._writer.add_scalar(f"{group}/{name}", value, step)

    def unit_histogram(self, tag: str, values: NDArray[np.float64], step: int) -> None:
        """A histogram of `values` in [0, 1], in 50 equal bins."""
        edges = np.linspace(0.0, 1.0, 51)
        self._writer.add_histogram(tag, values, step, bins=edges)

    def image(self, tag: str, pixels: NDArray[np.uint8], step: int) -> None:
        """A picture, uint8 (H, W, 3)."""
        self._writer.add_image(tag, pixels, step, dataformats="HWC")

    def flush(self) -> None:
        """Wait until everything so far is on the disk."""
        self._writer.flush()

    def close(self) -> None:
        """Write what is left. A full disk is no error here: the run's own records meet it first, and say so."""
        with contextlib.suppress(OSError):
            self._writer.close()


def open_board(folder: Path, start_step: int) -> Board | None:
    """A board that goes on after `start_step`, later steps of an earlier process hidden; None without tensorboard."""
    try:
        from torch.utils.tensorboard import SummaryWriter  # here: `import sngan_train.runlog` works without it
    except ImportError:
        return None
    _wait_for_a_name_of_its_own(folder)
    # purge_step is the first step that is forgotten.
    return Board(SummaryWriter(str(folder), purge_step=start_step + 1, flush_secs=FLUSH_EVERY_S))


def _wait_for_a_name_of_its_own(folder: Path) -> None:
    """Event files are named, and read in the order of, the second they were opened in: let the newest one's pass."""
    opened_s = [int(path.name.split(".")[3]) for path in folder.glob("events.out.tfevents.*.*")]
    if opened_s and max(opened_s) == int(time.time()):
        time.sleep(1.0)
