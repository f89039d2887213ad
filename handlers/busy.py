"""A mark that a worker is at work on a batch, which outsiders can see and which cannot outlive the worker.

TorchServe tells how many requests wait in its queue and not whether a worker holds one. `sngan serve` must know both
before it stops or swaps the model, and a worker must know how many others are at work before it uses their cores.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType


class BusyMark:
    """Holds shared locks while a `with` block runs: on a file of all workers, and on one of its own beside it.

    The kernel releases a lock with its holder, so a worker that was killed is not busy for ever.
    """

    def __init__(self, path: str | None) -> None:
        """Raises OSError if `path` is given and cannot be opened. Nothing is locked without a path."""
        self._files: tuple[int, ...] = ()
        self._path = None if path is None else Path(path)
        if self._path is None:
            return
        # Close-on-exec is Python's default; the files are open as long as the process lives.
        of_all = os.open(self._path, os.O_RDONLY)
        self._own = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        self._files = (of_all, os.open(self._own, os.O_RDONLY | os.O_CREAT, 0o600))

    def __enter__(self) -> None:
        for file in self._files:
            fcntl.flock(file, fcntl.LOCK_SH)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._files:
            fcntl.flock(file, fcntl.LOCK_UN)

    def others(self) -> int:
        """How many other workers of the same file are at work now. The file of one that has ended counts for nothing."""
        if self._path is None:
            return 0
        files = self._path.parent.glob(f"{self._path.name}.*")
        return sum(is_busy(file) for file in files if file != self._own)


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
