"""Run TorchServe as a child: start java, wait until its workers are ready, stop all of it, leave nothing.

Java is started directly. TorchServe's own Python wrapper loses SIGTERM, leaves java running, and exits with 0
whatever happened.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import importlib.util
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from handlers.metadata import GeneratorMetadata
from serve import tethered, torch_stand_in
from serve.capacity import likely_provider
from serve.config import MODEL_NAME, ServeConfig
from serve.config_files import config_properties, log4j2_xml, metrics_yaml
from serve.ending import stop
from serve.environment import java_environment
from serve.errors import StartError, UnreachableError
from serve.java import Java, find_java
from serve.management import Management
from serve.model_folder import ModelFolder, busy_file, prepare
from serve.ports import with_free_ports
from serve.private_folder import private_folder
from serve.record import ServerRecord, read
from serve.server_log import failure_reason, is_shown, last_lines, says_load_failed
from serve.settle import settle

# A small young generation, and netty's memory in pieces of 2 MiB in place of 16: less memory under load at the same
# speed (docs/bench-serve.md). The second compiler stays: after ten thousand requests java takes a quarter less of the
# processor than with the first alone.
JVM_OPTIONS = ("-Xmx512m", "-Xmn16m", "-XX:+UseSerialGC", "-XX:-UsePerfData", "-Dio.netty.allocator.maxOrder=8")
KEPT_LOG_LINES = 500
POLL_S = 0.1
QUESTION_TIMEOUT_S = 5.0
TRACEBACK_S = 10.0  # TorchServe may say that loading failed before it passes on the worker's traceback
REST_OF_TRACEBACK_S = 1.0
JAVA_START_S = 60.0  # 1 s on an idle machine
LOG_END_S = 5.0  # a process that has ended leaves nothing to wait for but its last lines


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RunningServer:
    """A server whose workers are ready.

    Attributes:
        base_url: of the inference port, such as http://127.0.0.1:8080.
        management_url: of the management port.
        config: as it runs: no port is 0.
        metadata: of the model.
        java: what runs it.
        pid: of java; the workers are its children.
        folder: its private folder.
        process: java.
    """

    base_url: str
    management_url: str
    config: ServeConfig
    metadata: GeneratorMetadata
    java: Java
    pid: int
    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def predictions_url(self) -> str:
        """Where requests for images go."""
        return f"{self.base_url}/predictions/{MODEL_NAME}"

    def settle(self, limit_s: float) -> bool:
        """Be not ready from now on, and wait until what was accepted is answered; whether it was by `limit_s`."""
        # Read anew: `sngan reload` may have swapped the model.
        record = read(self.folder)
        if record is None:
            return False
        # On a full disk `sngan healthcheck` is not told, and what was accepted is answered all the same.
        with contextlib.suppress(OSError):
            dataclasses.replace(record, stopping=True).write()
        management = Management(url=self.management_url, folder=self.folder, timeout_s=limit_s)
        return settle(management, busy_file(record.store, record.model), limit_s)


@contextlib.contextmanager
def running_server(
    source: Path, config: ServeConfig, on_log: Callable[[str], None] | None = None
) -> Iterator[RunningServer]:
    """Serve `source` while the block runs; all workers are READY when it begins, no process is left after it.

    Enter it on the main thread: the kernel stops java when the thread that started it ends.

    Args:
        source: a `.mar` or a generator `.onnx` file.
        config: a port of 0 becomes any free one.
        on_log: is given each line of the server's log that people should see, from another thread.

    Raises:
        ServeError: the file cannot be served, no Java or TorchServe is there, a port is taken, or the server
            did not start; nothing is left then either.
    """
    _require_torchserve()
    _require_access_log(config)
    java = find_java()
    with private_folder() as folder:
        config, model = _fill(folder, source, config)
        process = subprocess.Popen(
            [sys.executable, "-I", tethered.__file__, str(os.getpid()), *java_command(java, folder)],
            cwd=folder,
            env=java_environment(os.environ, folder, likely_provider(config.provider)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C in the terminal reaches us alone; we stop java in order
        )
        try:
            log = _Log(process, on_log)
            management = Management(url=config.management_url, folder=folder, timeout_s=QUESTION_TIMEOUT_S)
            _wait_until_ready(process, config, management, log)
            with _room_in(folder):
                ServerRecord(
                    folder=folder, config=config, source=str(source), model=MODEL_NAME, version=model.version
                ).write()
            yield RunningServer(
                base_url=config.base_url,
                management_url=config.management_url,
                config=config,
                metadata=model.metadata,
                java=java,
                pid=process.pid,
                folder=folder,
                process=process,
            )
        finally:
            stop(process)


def _fill(folder: Path, source: Path, config: ServeConfig) -> tuple[ServeConfig, ModelFolder]:
    """Write all that java is started on into the private `folder`: model and configuration, which has no port of 0.

    Raises:
        ServeError: `source` cannot be served, a port is taken, or the folder cannot be written.
    """
    with _room_in(folder):
        for name in ("store", "temp", "logs", "stand_in"):
            (folder / name).mkdir()
        torch_stand_in.write(folder / "stand_in")
        model = prepare(source, folder / "store", config)
        # Last of the preparations: the ports are free now, and should still be when java binds them.
        config = with_free_ports(config)
        properties = config_properties(config, folder / "store", folder / "metrics.yaml")
        (folder / "config.properties").write_text(properties, encoding="latin-1")
        (folder / "log4j2.xml").write_text(log4j2_xml(), encoding="utf-8")
        (folder / "metrics.yaml").write_text(metrics_yaml(), encoding="utf-8")
    return config, model


@contextlib.contextmanager
def _room_in(folder: Path) -> Iterator[None]:
    """Turn a failure to write, on a full disk above all, into a StartError."""
    try:
        yield
    except OSError as error:
        raise StartError(f"cannot write in {folder}: {error}; make room there, or set TMPDIR") from error


def java_command(java: Java, folder: Path) -> list[str]:
    """What starts TorchServe with the configuration in `folder`."""
    spec = importlib.util.find_spec("ts")
    assert spec is not None, "checked by _require_torchserve"
    assert spec.origin is not None, "ts is a package with an __init__.py"
    package = Path(spec.origin).parent
    return [
        str(java.executable),
        f"-Dmodel_server_home={package.parent}",
        f"-Djava.io.tmpdir={folder / 'temp'}",
        f"-Dlog4j.configurationFile={(folder / 'log4j2.xml').as_uri()}",
        *JVM_OPTIONS,
        "-cp",
        f"{package}/frontend/*",
        "org.pytorch.serve.ModelServer",
        "--python",
        sys.executable,
        "-f",
        str(folder / "config.properties"),
        "-s",
        str(folder / "store"),
        "-ncs",
    ]


class _Log:
    """Reads what java prints, so that it never waits for a reader; keeps the last lines."""

    def __init__(self, process: subprocess.Popen[bytes], on_log: Callable[[str], None] | None) -> None:
        assert process.stdout is not None, "started with a pipe"
        self._lines: collections.deque[str] = collections.deque(maxlen=KEPT_LOG_LINES)
        self.load_failed = threading.Event()
        self._thread = threading.Thread(target=self._read, args=(process.stdout, on_log), daemon=True)
        self._thread.start()

    def _read(self, pipe: IO[bytes], on_log: Callable[[str], None] | None) -> None:
        with pipe:
            for raw in pipe:
                line = raw.decode("utf-8", "replace").rstrip()
                self._lines.append(line)
                if says_load_failed(line):
                    self.load_failed.set()
                if on_log is not None and is_shown(line):
                    on_log(line)

    def lines(self) -> list[str]:
        """The lines so far."""
        return list(self._lines)

    def lines_to_the_end(self) -> list[str]:
        """All lines of a process that has ended."""
        self._thread.join(LOG_END_S)
        return list(self._lines)


def _wait_until_ready(process: subprocess.Popen[bytes], config: ServeConfig, management: Management, log: _Log) -> None:
    """Return when every worker is READY.

    Raises:
        StartError: java ended, a worker did not load the model, or neither happened in time.
    """
    limit_s = JAVA_START_S + config.startup_timeout_s
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise StartError(
                f"TorchServe ended with code {process.returncode} while starting; {last_lines(log.lines_to_the_end())}"
            )
        if log.load_failed.is_set():
            raise StartError(f"the worker did not load the model: {_reason_for_not_loading(log)}")
        with contextlib.suppress(UnreachableError):
            state = management.state()
            if state is not None and state.workers.count("READY") >= config.workers:
                return
        time.sleep(POLL_S)
    raise StartError(f"no worker was ready after {limit_s:g} s; {last_lines(log.lines())}")


def _reason_for_not_loading(log: _Log) -> str:
    """Wait for the worker's traceback and for the rest of it: our handler's own words may come after another's."""
    deadline = time.monotonic() + TRACEBACK_S
    while failure_reason(log.lines()) is None and time.monotonic() < deadline:
        time.sleep(POLL_S)
    time.sleep(REST_OF_TRACEBACK_S)
    lines = log.lines()
    return failure_reason(lines) or last_lines(lines)


def _require_torchserve() -> None:
    """Say what to install, before anything is started."""
    missing = [name for name in ("ts", "yaml", "psutil") if importlib.util.find_spec(name) is None]
    if missing:
        raise StartError(f"not installed: {', '.join(missing)}; `pip install 'sngan[serve,cpu]'`")


def _require_access_log(config: ServeConfig) -> None:
    """A log that cannot be written stops no request, so that nobody would notice: say it while somebody looks."""
    if config.access_log is None:
        return
    try:
        os.close(os.open(config.access_log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640))
    except OSError as error:
        raise StartError(
            f"the access log {config.access_log} cannot be written: {error.strerror}; give --access-log a file in a "
            "folder that exists and is yours to write"
        ) from error
