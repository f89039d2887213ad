"""A mark that a worker is at work on a batch, which outsiders can see and which cannot outlive the worker.

TorchServe tells how many requests wait in its queue and not whether a worker holds one. `sngan serve` must know both
before it stops or swaps the model, and a worker must know how many others are at work before it uses their cores.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
import time
from pathlib import Path
from types import TracebackType

# Workers seldom come; the file of one that has gone does no harm.
LOOK_AROUND_S = 1.0


class BusyMark:
    """Holds locks while a `with` block runs: a shared one on the file of all workers, and one on a file of its own.

    The kernel releases a lock with its holder, so a worker that was killed is not busy for ever.
    """

    def __init__(self, path: str | None) -> None:
        """Raises OSError if `path` is given and cannot be opened. Nothing is locked without a path."""
        self._path = None if path is None else Path(path)
        self._own_path: Path | None = None
        self._locks: dict[int, int] = {}  # file → the kind of its lock
        self._looked_s = -LOOK_AROUND_S
        self._neighbours: dict[Path, int] = {}
        if self._path is None:
            return
        # Close-on-exec is Python's default; the files are open as long as the process lives.
        self._locks = {os.open(self._path, os.O_RDONLY): fcntl.LOCK_SH}
        # On a full disk the others do not see this worker, which costs speed alone.
        with contextlib.suppress(OSError):
            own, own_path = tempfile.mkstemp(prefix=f"{self._path.name}.", dir=self._path.parent)
            self._locks[own] = fcntl.LOCK_EX
            self._own_path = Path(own_path)

    def __enter__(self) -> None:
        for file, kind in self._locks.items():
            fcntl.flock(file, kind)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._locks:
            fcntl.flock(file, fcntl.LOCK_UN)

    def others(self) -> int:
        """How many other workers of the same file are at work now."""
        if self._path is None:
            return 0
        now_s = time.monotonic()
        if now_s - self._looked_s >= LOOK_AROUND_S:
            self._looked_s = now_s
            for path in self._path.parent.glob(f"{self._path.name}.*"):
                if path != self._own_path and path not in self._neighbours:
                    with contextlib.suppress(OSError):
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
