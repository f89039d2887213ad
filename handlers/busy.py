"""A mark that a worker is at work on a batch, which outsiders can see and which cannot outlive the worker.

TorchServe tells how many requests wait in its queue and not whether a worker holds one. `sngan serve` must know
both before it stops or swaps the model.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType


class BusyMark:
    """Holds a shared lock on a file while a `with` block runs. Several workers may hold it at once.

    The kernel releases a lock with its holder, so a worker that was killed is not busy for ever.
    """

    def __init__(self, path: str | None) -> None:
        """Raises OSError if `path` is given and cannot be opened. Nothing is locked without a path."""
        # Close-on-exec is Python's default; the file lives as long as the process.
        self._file = None if path is None else os.open(path, os.O_RDONLY)

    def __enter__(self) -> None:
        if self._file is not None:
            fcntl.flock(self._file, fcntl.LOCK_SH)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            fcntl.flock(self._file, fcntl.LOCK_UN)


def is_busy(path: Path) -> bool:
    """Whether any worker holds the mark `path` now.

    Raises:
        OSError: there is no such file.
    """
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
