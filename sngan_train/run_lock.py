"""One training a folder, and one clear error when the folder cannot be written to."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from sngan_train.checkpoint import remove_partial
from sngan_train.distributed import Processes
from sngan_train.errors import TrainError


@contextlib.contextmanager
def exclusive(run_dir: Path, processes: Processes) -> Iterator[None]:
    """Hold the folder's lock; the system drops it when the process dies, however it dies."""
    if not processes.is_first:  # the first process holds it for all
        yield
        return
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        lock = (run_dir / ".lock").open("w")
    except OSError as error:
        raise TrainError(f"{run_dir}: cannot be written to ({error.strerror})") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise TrainError(f"{run_dir}: another process trains here; stop it, or use another --run") from error
        try:
            remove_partial(run_dir)
            yield
        except OSError as error:  # mostly a full disk; data sources have errors of their own
            raise TrainError(
                f"{run_dir}: cannot be written to ({error.strerror or error}); checkpoints written earlier are whole, "
                "and the same command goes on from the last once there is room"
            ) from error
