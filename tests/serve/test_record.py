from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

from serve.config import ServeConfig
from serve.private_folder import private_folder
from serve.record import FILE, ServerRecord, find, read


def record_in(folder: Path, **changes: object) -> ServerRecord:
    config = ServeConfig(management_port=4321, reloadable=True, threads=2, access_log="/x")
    record = ServerRecord(folder=folder, config=config, source="a.mar", model="sngan", version="1.0")
    return dataclasses.replace(record, **changes)  # type: ignore[arg-type]


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    record = record_in(tmp_path, stopping=True)
    record.write()
    assert read(tmp_path) == record
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_what_is_not_understood_is_nobody(tmp_path: Path) -> None:
    assert read(tmp_path) is None
    for text in ("", "[]", "{}", '{"config": {"future_setting": 1}}', '{"config": {"port": -1}}', "\0"):
        (tmp_path / FILE).write_text(text)
        assert read(tmp_path) is None


def test_a_server_is_found_by_its_management_port_while_it_lives(temp: Path) -> None:
    with private_folder() as folder:
        assert find("http://127.0.0.1:4321") is None, "it has written nothing yet"
        record = record_in(folder)
        record.write()
        assert find("http://127.0.0.1:4321") == find("http://localhost:4321") == record
        assert find("http://127.0.0.1:4322") is None
        assert find("http://192.0.2.1:4321") is None, "another machine's"
    assert find("http://127.0.0.1:4321") is None


def test_another_user_s_folder_is_not_believed(temp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with private_folder() as folder:
        record_in(folder).write()
        assert find("http://127.0.0.1:4321") is not None
        somebody = os.getuid() + 1
        monkeypatch.setattr(os, "getuid", lambda: somebody)
        assert find("http://127.0.0.1:4321") is None


def test_a_killed_server_is_not_found(temp: Path) -> None:
    program = (
        "import sys, tempfile; tempfile.tempdir = sys.argv[1]\n"
        "from serve.private_folder import private_folder\n"
        "with private_folder() as folder: print(folder, flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", program, str(temp)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with other:
        assert other.stdout is not None
        record_in(Path(other.stdout.readline().strip())).write()
        assert find("http://127.0.0.1:4321") is not None
        other.kill()
    assert find("http://127.0.0.1:4321") is None
