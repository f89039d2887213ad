"""A mark that a worker is at work on a batch, which outsiders can see and which cannot outlive the worker.

TorchServe tells how many requests wait in its queue and not whether a worker holds one. `sngan serve` must know both
before it stops or swaps the model, and a worker must know how many others are at work before it uses their cores.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path
from types import TracebackType


class BusyMark:
    """Holds locks while a `with` block runs: a shared one on the file of all workers, and one on a file of its own.

    The kernel releases a lock with its holder, so a worker that was killed is not busy for ever.
    """

    def __init__(self, path: str | None) -> None:
        """Raises OSError if `path` is given and cannot be opened, or its folder not be written.

        Nothing is locked without a path.
        """
        self._path = None if path is None else Path(path)
        self._changed_ns = 0
        self._neighbours: dict[Path, int] = {}
        if self._path is None:
            return
        # Close-on-exec is Python's default; the files are open as long as the process lives.
        self._of_all = os.open(self._path, os.O_RDONLY)
        self._own, own_path = tempfile.mkstemp(prefix=f"{self._path.name}.", dir=self._path.parent)
        self._own_path = Path(own_path)

    def __enter__(self) -> None:
        if self._path is not None:
            fcntl.flock(self._of_all, fcntl.LOCK_SH)
            fcntl.flock(self._own, fcntl.LOCK_EX)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._path is not None:
            fcntl.flock(self._own, fcntl.LOCK_UN)
            fcntl.flock(self._of_all, fcntl.LOCK_UN)

    def others(self) -> int:
        """How many other workers of the same file are at work now."""
        if self._path is None:
            return 0
        changed_ns = self._path.parent.stat().st_mtime_ns
        if changed_ns != self._changed_ns:  # a worker has come, seldom; the file of one that has gone does no harm
            self._changed_ns = changed_ns
            for path in self._path.parent.glob(f"{self._path.name}.*"):
                if path != self._own_path and path not in self._neighbours:
                    self._neighbours[path] = os.open(path, os.O_RDONLY)
        return sum(_is_locked(file, fcntl.LOCK_SH) for file in self._neighbours.values())


def is_busy(path: Path) -> bool:
    """Whether any worker holds the mark `path` now.

    Raises:
        OSError: there is no such file.
    """
    with path.open("rb") as file:
        return _is_locked(file.fileno(), fcntl.LOCK_EX)


def _is_locked(file: int, kind: int) -> bool:
    """Whether somebody has a lock on `file` beside which one of `kind` cannot be."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(file, fcntl.LOCK_UN)
    return False
