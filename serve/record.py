"""`server.json` in a server's private folder: how other commands of the same user find it and learn its state.

TorchServe knows neither that it is about to be stopped nor where its model's files came from.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from serve.config import ServeConfig
from serve.private_folder import LOCK, PREFIX

FILE = "server.json"
LOOPBACK_NAMES = ("127.0.0.1", "localhost")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ServerRecord:
    """One running server.

    Attributes:
        folder: its private folder.
        config: as it runs: no port is 0.
        source: the file that is served.
        model: the name of the model folder in `folder/store` that is served.
        version: as TorchServe names it.
        stopping: it answers what it has accepted, and then ends.
    """

    folder: Path
    config: ServeConfig
    source: str
    model: str
    version: str
    stopping: bool = False

    @property
    def store(self) -> Path:
        """The folder of model folders."""
        return self.folder / "store"

    def write(self) -> None:
        """Replace the file in one step, so that whoever reads it finds it whole."""
        record = {
            "config": dataclasses.asdict(self.config),
            "source": self.source,
            "model": self.model,
            "version": self.version,
            "stopping": self.stopping,
        }
        new = self.folder / f"{FILE}.new"
        new.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        new.replace(self.folder / FILE)


def read(folder: Path) -> ServerRecord | None:
    """What `folder` says; None if it says nothing that this version understands."""
    try:
        record: Any = json.loads((folder / FILE).read_text(encoding="utf-8"))
        config = ServeConfig(**record.pop("config"))
        return ServerRecord(folder=folder, config=config, **record)
    except (OSError, ValueError, TypeError, LookupError, AttributeError):
        return None


def find(management_url: str) -> ServerRecord | None:
    """The living server of this user, in this folder for temporary files, whose management answers there."""
    parts = urlsplit(management_url)
    if parts.hostname not in LOOPBACK_NAMES:
        return None
    for folder in sorted(Path(tempfile.gettempdir()).glob(f"{PREFIX}*")):
        if not _is_ours(folder):
            continue
        record = read(folder)
        if record is not None and record.config.management_port == parts.port and _lives(folder):
            return record
    return None


def _is_ours(folder: Path) -> bool:
    """Anybody may put a folder of this name where temporary files are; only our own are believed."""
    with contextlib.suppress(OSError):
        return folder.stat().st_uid == os.getuid()
    return False


def _lives(folder: Path) -> bool:
    """Whether the launcher still holds its lock."""
    with contextlib.suppress(OSError), (folder / LOCK).open("rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
