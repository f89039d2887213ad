"""A server's private folder: model, configuration, sockets, logs. It goes when the server does.

A launcher that was killed cannot remove its folder, so the next one does. Which folders are dead is told by a
lock that the kernel releases with its holder, never by a process number, which another process may have now.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from serve.errors import StartError

PREFIX = "sngan-serve-"
LOCK = "lock"
# The kernel's limit for the path of a Unix socket is 108 bytes, 104 on macOS.
LONGEST_SOCKET = "temp/.ts.sock.9000"
MAX_SOCKET_BYTES = 103


@contextlib.contextmanager
def private_folder() -> Iterator[Path]:
    """A new folder that only this user can enter; removed at the end, with those of dead launchers before.

    Raises:
        StartError: the folder for temporary files cannot be written, or its path is too long for a socket.
    """
    parent = _parent()
    remove_dead_folders(parent)
    try:
        folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=parent))
    except OSError as error:
        raise StartError(f"cannot make a folder in {parent}: {error}; set TMPDIR") from error
    try:
        if len(os.fsencode(folder / LONGEST_SOCKET)) > MAX_SOCKET_BYTES:
            raise StartError(f"{parent} is too long a path for TorchServe's sockets; set TMPDIR to a shorter one")
        # Locked under another name first: nobody may find the lock free while we live.
        with (folder / "lock.new").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            (folder / "lock.new").rename(folder / LOCK)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _parent() -> Path:
    """Where temporary files go. Python passes over a TMPDIR that it cannot write without a word; we do not."""
    try:
        parent = tempfile.gettempdir()
    except FileNotFoundError as error:
        raise StartError(f"no folder for temporary files can be written: {error.strerror}; set TMPDIR") from error
    asked = os.environ.get("TMPDIR")
    if asked and os.path.abspath(asked) != parent:
        raise StartError(
            f"TMPDIR is {asked}, where nothing can be written: it is missing, full, or not yours; set it to another "
            f"folder, or unset it to use {parent}"
        )
    return Path(parent)


def remove_dead_folders(parent: Path) -> None:
    """Remove the folders in `parent` whose launcher is dead. What cannot be opened is another user's."""
    for lock_file in parent.glob(f"{PREFIX}*/{LOCK}"):
        with contextlib.suppress(OSError), lock_file.open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # BlockingIOError: its launcher lives
            shutil.rmtree(lock_file.parent, ignore_errors=True)
