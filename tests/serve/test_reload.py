"""Who is refused, and what is put back; the swap itself is tested with a real server in tests/e2e."""

from __future__ import annotations

import dataclasses
import errno
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serve.config import ServeConfig
from serve.errors import ReloadError
from serve.private_folder import private_folder
from serve.record import ServerRecord, find
from serve.reload import WORKERS_LOG, reload

REGISTER = "/models?url=sngan-2&model_name=sngan&initial_workers=1&synchronous=true"
UNREGISTER = "/models/sngan/1.2-sngan-2"


@pytest.fixture
def record(temp: Path, scripted_server: Any) -> Iterator[ServerRecord]:
    """A server that serves version 1.2, whose management is the scripted one."""
    port = int(scripted_server.url.rpartition(":")[2])
    config = ServeConfig(management_port=port, provider="cpu", threads=1, reloadable=True)
    with private_folder() as folder:
        (folder / "store").mkdir()
        (folder / "logs").mkdir()
        found = ServerRecord(folder=folder, config=config, source="old.onnx", model="sngan", version="1.2")
        found.write()
        yield found


def refused(source: Path, url: str, words: str) -> None:
    with pytest.raises(ReloadError, match=words) as caught:
        reload(source, url, lambda line: None)
    assert "\n" not in str(caught.value)


def test_nobody_there(temp: Path) -> None:
    refused(Path("new.mar"), "http://127.0.0.1:1", "no server of yours has its management at http://127.0.0.1:1")


def test_a_server_that_was_not_started_for_it(record: ServerRecord, scripted_server: Any) -> None:
    dataclasses.replace(record, config=dataclasses.replace(record.config, reloadable=False)).write()
    refused(Path("new.mar"), scripted_server.url, "without --reloadable")


def test_a_server_that_is_stopping(record: ServerRecord, scripted_server: Any) -> None:
    dataclasses.replace(record, stopping=True).write()
    refused(Path("new.mar"), scripted_server.url, "the server is stopping")


def test_two_at_once(record: ServerRecord, scripted_server: Any) -> None:
    with (record.folder / "reload.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        refused(Path("new.mar"), scripted_server.url, "another reload")


def test_a_bad_file_never_reaches_the_server(record: ServerRecord, scripted_server: Any, tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"garbage")
    refused(tmp_path / "bad.onnx", scripted_server.url, r"not a readable ONNX generator.*; version 1\.2 still serves")
    assert scripted_server.requests == []
    assert [path.name for path in record.store.iterdir() if path.is_dir()] == []


def test_workers_that_do_not_start_are_taken_back_with_their_reason(
    record: ServerRecord, scripted_server: Any, tiny_generator_onnx: Path
) -> None:
    """And with the reason of these workers, not of others that failed before."""
    line = "2026-01-31T12:00:00,000 INFO  MODEL_LOG {}\n"
    log = record.folder / WORKERS_LOG
    log.write_text(line.format("RuntimeError: sngan: of yesterday"))

    class Failing(dict[str, tuple[int, bytes]]):
        def get(self, path: str, default: Any = None) -> Any:
            if path == REGISTER:
                with log.open("a") as file:
                    file.write(line.format("RuntimeError: sngan: the disk is full"))
                return 500, json.dumps({"code": 500, "message": "Failed to start workers"}).encode()
            return 200, b"{}"

    scripted_server.answers = Failing()
    refused(
        tiny_generator_onnx, scripted_server.url, r"^a worker did not load the model: the disk is full; version 1\.2"
    )
    assert [(request[0], request[1]) for request in scripted_server.requests] == [
        ("POST", REGISTER),
        ("DELETE", UNREGISTER),
    ]
    assert [path.name for path in record.store.iterdir() if path.is_dir()] == []
    assert find(scripted_server.url) == record


def test_a_full_disk_at_the_last_moment_changes_nothing(
    record: ServerRecord, scripted_server: Any, tiny_generator_onnx: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Willing(dict[str, tuple[int, bytes]]):
        def get(self, path: str, default: Any = None) -> Any:
            return 200, b"\x89PNG\r\n\x1a\n" if path.startswith("/predictions") else b"{}"

    def full(self: ServerRecord) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    port = int(scripted_server.url.rpartition(":")[2])
    dataclasses.replace(record, config=dataclasses.replace(record.config, port=port, management_port=port + 1)).write()
    scripted_server.answers = Willing()
    monkeypatch.setattr("serve.reload.find", lambda url: find(f"http://127.0.0.1:{port + 1}"))
    monkeypatch.setattr(ServerRecord, "write", full)
    refused(tiny_generator_onnx, scripted_server.url, r"No space left on device; version 1\.2 still serves")
    assert scripted_server.requests[-1][:2] == ("DELETE", UNREGISTER)
    assert not any("set-default" in path for _, path, _, _ in scripted_server.requests)
    assert [path.name for path in record.store.iterdir() if path.is_dir()] == []
