"""Starting and stopping, with programs that behave as Javas do; a real one is in tests/e2e."""

from __future__ import annotations

import contextlib
import errno
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from handlers.metadata import GeneratorMetadata
from serve import launcher, tethered
from serve.config import ServeConfig
from serve.errors import JavaNotFoundError, ModelFileError, StartError
from serve.java import Java
from serve.launcher import RunningServer, java_command, running_server
from serve.record import ServerRecord

pytest.importorskip("ts")
WAIT_S = 20.0  # for another process to get its turn on a busy machine


def wait_for(condition: object) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "nothing happened in time"
        time.sleep(0.02)


def is_gone(process: psutil.Process) -> bool:
    """Whether it has ended; a zombie has."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    return True


def use_java(monkeypatch: pytest.MonkeyPatch, folder: Path, program: str) -> None:
    """Let a shell script be the Java that is found."""
    executable = folder / "java"
    executable.write_text(f"#!/bin/sh\n{program}\n")
    executable.chmod(0o755)
    monkeypatch.setattr(launcher, "find_java", lambda: Java(executable=executable, major=17, found_by="PATH"))


def test_the_command_names_our_files_alone() -> None:
    command = java_command(Java(executable=Path("/j/java"), major=17, found_by="PATH"), Path("/private"))
    assert command[0] == "/j/java"
    assert "-Djava.io.tmpdir=/private/temp" in command
    assert "-Dlog4j.configurationFile=file:///private/log4j2.xml" in command
    assert command[command.index("-f") + 1] == "/private/config.properties"
    assert "-ncs" in command


def test_a_java_that_ends_at_once_is_reported_with_its_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, temp: Path, tiny_generator_onnx: Path
) -> None:
    use_java(monkeypatch, tmp_path, "echo 'Address already in use'; exit 3")
    with (
        pytest.raises(StartError, match=r"ended with code 3 while starting(.|\n)*Address already in use"),
        running_server(tiny_generator_onnx, ServeConfig.on_free_ports()),
    ):
        pytest.fail("it is not running")
    assert list(temp.iterdir()) == []


def test_a_worker_that_cannot_load_is_reported_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, temp: Path, tiny_generator_onnx: Path
) -> None:
    script = (
        "echo \"2026-01-31T12:00:00,000 INFO  MODEL_LOG ImportError: no such thing\"\n"
        "echo \"2026-01-31T12:00:00,001 INFO  MODEL_LOG Backend worker process died.\"\n"
        "exec sleep 1000"
    )  # fmt: skip
    use_java(monkeypatch, tmp_path, script)
    with (
        pytest.raises(StartError, match=r"^the worker did not load the model: ImportError: no such thing$"),
        running_server(tiny_generator_onnx, ServeConfig.on_free_ports()),
    ):
        pytest.fail("it is not running")
    assert list(temp.iterdir()) == []
    assert [child.name() for child in psutil.Process().children(recursive=True)] == []


def test_a_java_that_does_nothing_is_given_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, temp: Path, tiny_generator_onnx: Path
) -> None:
    use_java(monkeypatch, tmp_path, "exec sleep 1000")
    monkeypatch.setattr(launcher, "JAVA_START_S", 0.0)
    with (
        pytest.raises(StartError, match="no worker was ready after 1 s; it printed nothing"),
        running_server(tiny_generator_onnx, ServeConfig.on_free_ports(startup_timeout_s=1)),
    ):
        pytest.fail("it is not running")
    assert list(temp.iterdir()) == []


def test_a_bad_file_never_starts_java(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, temp: Path) -> None:
    use_java(monkeypatch, tmp_path, f"touch {tmp_path}/started; sleep 1000")
    (tmp_path / "bad.onnx").write_bytes(b"garbage")
    with (
        pytest.raises(ModelFileError, match="not a readable ONNX generator"),
        running_server(tmp_path / "bad.onnx", ServeConfig.on_free_ports()),
    ):
        pytest.fail("it is not running")
    assert not (tmp_path / "started").exists()
    assert list(temp.iterdir()) == []


def test_a_full_disk_is_one_line_and_never_starts_java(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, temp: Path, tiny_generator_onnx: Path
) -> None:
    """Full after the model has been unpacked, which has a message of its own."""
    use_java(monkeypatch, tmp_path, f"touch {tmp_path}/started; sleep 1000")

    def full() -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(launcher, "metrics_yaml", full)
    with (
        pytest.raises(StartError, match=r"^cannot write in .*: .*No space left on device; make room there, or set"),
        running_server(tiny_generator_onnx, ServeConfig.on_free_ports()),
    ):
        pytest.fail("it is not running")
    assert not (tmp_path / "started").exists()
    assert list(temp.iterdir()) == []


def test_an_access_log_that_cannot_be_written_is_said_before_anything_starts(
    tmp_path: Path, temp: Path, tiny_generator_onnx: Path
) -> None:
    config = ServeConfig.on_free_ports(access_log=str(tmp_path / "missing" / "access.json"))
    with (
        pytest.raises(StartError, match=r"missing/access.json cannot be written: No such file or directory; give"),
        running_server(tiny_generator_onnx, config),
    ):
        pytest.fail("it is not running")
    assert list(temp.iterdir()) == []


def test_settling_goes_on_when_the_disk_is_full(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_metadata: GeneratorMetadata
) -> None:
    """What was accepted is answered, though `sngan healthcheck` is not told that the server is stopping."""

    def full(record: ServerRecord) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    config = ServeConfig(provider="cpu")
    java = Java(executable=Path("/j/java"), major=17, found_by="PATH")
    ServerRecord(folder=tmp_path, config=config, source="x.mar", model="sngan", version="1").write()
    monkeypatch.setattr(ServerRecord, "write", full)
    limits: list[float] = []
    monkeypatch.setattr(launcher, "settle", lambda management, busy, limit_s: limits.append(limit_s) or True)
    with subprocess.Popen(["true"]) as process:
        server = RunningServer(
            base_url=config.base_url,
            management_url=config.management_url,
            config=config,
            metadata=tiny_metadata,
            java=java,
            pid=process.pid,
            folder=tmp_path,
            process=process,
        )
        assert server.settle(3.0)
    assert limits == [3.0]


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, tiny_generator_onnx: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with (
        pytest.raises(StartError, match="not installed: ts, yaml, psutil"),
        running_server(tiny_generator_onnx, ServeConfig.on_free_ports()),
    ):
        pytest.fail("it is not running")


def test_no_java_is_said_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def none() -> Java:
        raise JavaNotFoundError("no usable Java")

    monkeypatch.setattr(launcher, "find_java", none)
    with (
        pytest.raises(JavaNotFoundError),
        running_server(tmp_path / "missing.onnx", ServeConfig.on_free_ports()),
    ):
        pytest.fail("it is not running")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of its parent's death")
def test_a_tethered_program_dies_with_its_parent() -> None:
    program = (
        "import os, subprocess, sys\n"
        f"tether = [sys.executable, '-I', {tethered.__file__!r}, str(os.getpid())]\n"
        "child = subprocess.Popen([*tether, '/bin/sleep', '1000'])\n"
        "print(child.pid, flush=True); sys.stdin.read()"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        wait_for(lambda: child.name() == "sleep")
        parent.kill()
    wait_for(lambda: is_gone(child))


def test_a_tethered_program_is_not_started_for_a_dead_parent() -> None:
    done = subprocess.run([sys.executable, tethered.__file__, "1", "/bin/echo", "started"], capture_output=True)
    assert (done.returncode, done.stdout) == (1, b"")
