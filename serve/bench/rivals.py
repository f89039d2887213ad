"""The servers that ours is measured beside, each started as its own documentation says, and stopped without a trace.

`litserve` runs the same ONNX file, `stock_torchserve` an archive that PyTorch runs. Whichever cannot be started is a
`RivalError` with the reason, so that a benchmark can go on without it and say why.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from serve.config import LOOPBACK, ServeConfig
from serve.ending import KILL_S, wait_for_the_end
from serve.errors import ServeError, UnreachableError
from serve.exchange import exchange
from serve.java import find_java
from serve.ports import with_free_ports
from serve.server_log import says_load_failed

START_S = 120.0  # PyTorch alone takes seconds in every worker
ANSWER_S = 5.0  # TorchServe lets a request wait while its worker loads; this often we look whether it failed
POLL_S = 0.02
STOP_S = 10.0
STOCK_NAME = "stock"
JSON = {"Content-Type": "application/json"}
# The last line of a traceback, by itself or passed on by TorchServe: "SomeError: text" or "module.Name: text".
_EXCEPTION = re.compile(r"(?:^|MODEL_LOG - )((?:\w+(?:Error|Exception|Exit)|[a-z_]\w*\.[\w.]*[A-Z]\w*): .+)")


class RivalError(ServeError):
    """A rival is not installed or did not start."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Rival:
    """A rival that has answered, with all of its workers.

    Attributes:
        name: for people, with its version.
        url: where JSON is POSTed to, with `n`, `class` and `seed`; the answer is a PNG.
        pid: the process whose children, and theirs, are its workers.
        first_answer_s: from its start to the first answer with status 200.
    """

    name: str
    url: str
    pid: int
    first_answer_s: float


@contextlib.contextmanager
def litserve(generator: Path, *, workers: int, threads: int, folder: Path) -> Iterator[Rival]:
    """A minimal LitServe server of the ONNX file `generator` on the CPU provider, while the block runs.

    Args:
        generator: as `sngan export` writes it.
        workers: processes that each hold the model.
        threads: of one run, in each of them.
        folder: is there; gets `litserve.log`.

    Raises:
        RivalError: LitServe is not installed, or it did not start.
    """
    _require("LitServe", "litserve", "`pip install litserve`, or the extra `bench`")
    port = with_free_ports(ServeConfig.on_free_ports()).port
    command = [
        sys.executable, "-m", "serve.bench.litserve_server", str(generator.resolve()),
        "--port", str(port), "--workers", str(workers), "--threads", str(threads),
    ]  # fmt: skip
    url = f"http://{LOOPBACK}:{port}"

    def all_workers_are_ready() -> bool:
        return exchange(f"{url}/health", timeout_s=ANSWER_S).status == 200

    log = folder / "litserve.log"
    # Ended by a signal, its processes leave their sockets behind: in a folder that goes.
    with tempfile.TemporaryDirectory(prefix="sngan-litserve-", ignore_cleanup_errors=True) as private:
        started = time.monotonic()
        with _process(command, folder, log, {**os.environ, "TMPDIR": private}) as process:
            first_answer_s = _first_answer(process, f"{url}/predict", log, started)
            _wait_until(all_workers_are_ready, process, log)
            yield Rival(
                name=f"LitServe {_version('litserve')}",
                url=f"{url}/predict",
                pid=process.pid,
                first_answer_s=first_answer_s,
            )


@contextlib.contextmanager
def stock_torchserve(archive: Path, *, folder: Path) -> Iterator[Rival]:
    """TorchServe with `archive`, by its own launcher and with its own defaults, while the block runs.

    Addresses, ports, tokens (off) and folders are the only settings. The real torch serves, not our stand-in.

    Args:
        archive: a `.mar`, as `export.stock_archive` writes it.
        folder: is there; gets `stock_torchserve.log` and TorchServe's own logs.

    Raises:
        RivalError: PyTorch or TorchServe is not installed, the archive cannot be read, or it did not start.
        JavaNotFoundError: there is no Java for it.
    """
    import psutil

    _require("PyTorch", "torch", "`pip install 'sngan[train]'`")
    _require("TorchServe", "ts", "`pip install 'sngan[serve]'`")
    java = find_java().executable
    config = with_free_ports(ServeConfig.on_free_ports())
    log = folder / "stock_torchserve.log"
    # Not below `folder`: the path of TorchServe's sockets may have 107 bytes at most.
    with tempfile.TemporaryDirectory(prefix="sngan-stock-", ignore_cleanup_errors=True) as private:
        store, temp = Path(private) / "store", Path(private) / "temp"
        store.mkdir()
        temp.mkdir()
        try:
            shutil.copyfile(archive, store / f"{STOCK_NAME}.mar")
        except OSError as error:
            raise RivalError(f"{archive}: cannot be read ({error.strerror or error})") from error
        properties = Path(private) / "config.properties"
        properties.write_text(_properties(config, store), encoding="ascii")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TS_")}
        environment.pop("JAVA_HOME", None)  # the launcher takes java from the PATH without it
        environment["PATH"] = os.pathsep.join([str(java.parent), environment.get("PATH", os.defpath)])
        environment |= {"TEMP": str(temp), "LOG_LOCATION": str(folder), "METRICS_LOCATION": str(folder)}
        command = [sys.executable, "-m", "ts.model_server", "--start", "--foreground", "--ncs"]
        command += ["--ts-config", str(properties)]

        def all_workers_are_ready() -> bool:
            answer = exchange(f"{config.management_url}/models/{STOCK_NAME}", timeout_s=ANSWER_S)
            [model] = json.loads(answer.body)
            return all(worker["status"] == "READY" for worker in model["workers"])

        started = time.monotonic()
        with _process(command, folder, log, environment) as process:
            url = f"{config.base_url}/predictions/{STOCK_NAME}"
            first_answer_s = _first_answer(process, url, log, started)
            _wait_until(all_workers_are_ready, process, log)
            [frontend] = psutil.Process(process.pid).children()
            yield Rival(
                name=f"TorchServe {_version('torchserve')}, BaseHandler",
                url=url,
                pid=frontend.pid,
                first_answer_s=first_answer_s,
            )


def _properties(config: ServeConfig, store: Path) -> str:
    """What has to be said to TorchServe for it to run beside others; everything else is as it comes."""
    settings = {
        "inference_address": config.base_url,
        "management_address": config.management_url,
        "metrics_address": f"http://{LOOPBACK}:{config.metrics_port}",
        "grpc_inference_port": config.grpc_inference_port,
        "grpc_management_port": config.grpc_management_port,
        "model_store": store,
        "load_models": f"{STOCK_NAME}={STOCK_NAME}.mar",
        "disable_token_authorization": "true",
    }
    return "".join(f"{name}={value}\n" for name, value in settings.items())


def _require(name: str, module: str, remedy: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise RivalError(f"{name} is not installed; {remedy}")


def _version(distribution: str) -> str:
    from importlib.metadata import version

    return version(distribution)


@contextlib.contextmanager
def _process(
    command: list[str], folder: Path, log: Path, environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """`command` while the block runs; neither it nor anything that it started runs afterwards."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a process group of its own, by which all of it can be ended
        )
    try:
        yield process
    finally:
        _stop(process)


def _first_answer(process: subprocess.Popen[bytes], url: str, log: Path, started: float) -> float:
    """Seconds from `started` to the first good answer; raises RivalError if there is none."""

    def answers() -> bool:
        answer = exchange(url, method="POST", body=b'{"n": 1}', headers=JSON, timeout_s=ANSWER_S)
        # 404 and 503 are of a server that has not loaded its model yet.
        if answer.status in (400, 415, 422, 500):
            raise RivalError(f"it answers with HTTP {answer.status}: {answer.body[:200].decode('utf-8', 'replace')}")
        return answer.status == 200

    _wait_until(answers, process, log)
    return time.monotonic() - started


def _wait_until(condition: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    """Ask again and again; raises RivalError when the server ends, fails to load the model, or takes too long."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        with contextlib.suppress(UnreachableError):
            if condition():
                return
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        if process.poll() is not None:
            raise RivalError(f"it ended with code {process.returncode} while starting: {_reason(lines)}")
        if any(map(says_load_failed, lines)):
            raise RivalError(f"its worker did not load the model: {_reason(lines)}")
        time.sleep(POLL_S)
    raise RivalError(f"it was not ready after {START_S:g} s: {_reason(lines)}")


def _reason(lines: list[str]) -> str:
    """The first exception in a log, else its last line."""
    said = [line.strip() for line in lines if line.strip()]
    exceptions = [match[1] for line in said if (match := _EXCEPTION.search(line)) is not None]
    return (exceptions or said[-1:] or ["it printed nothing"])[0]


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the group: in order, then by force."""
    import psutil

    family: list[psutil.Process] = []
    with contextlib.suppress(psutil.NoSuchProcess):
        leader = psutil.Process(process.pid)
        family = [leader, *leader.children(recursive=True)]
    for wish, limit_s in ((signal.SIGTERM, STOP_S), (signal.SIGKILL, KILL_S)):
        # By the group, not by the leader: TorchServe's launcher would leave java running.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, wish)
        wait_for_the_end(family, limit_s)
    process.wait()
