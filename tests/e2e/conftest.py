"""`sngan serve` as a command of its own for tests of faults and load, and the digits generator that it serves there."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from serve.config import MODEL_NAME, PORTS
from serve.exchange import Answer, exchange

ANSWER_S = 60.0  # other programs use the machine too
BENCH_S = 500.0
COMMAND = [sys.executable, "-c", "from sngan_cli.main import main; main()", "serve"]
FREE_PORTS = [f"--{name.replace('_', '-')}=0" for name in PORTS]
ADDRESSES = re.compile(
    r"ready after \S+ s at (\S+)/predictions/sngan\nmanagement \(this machine only\): (\S+); metrics: (\S+)"
)


def is_worker(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):  # above all a zombie
        return "model_service_worker" in " ".join(process.cmdline())
    return False


@dataclasses.dataclass(kw_only=True)
class Serving:
    """A running `sngan serve`.

    Attributes:
        process: of the command; java is its child, and the workers are java's.
        said: the lines that it has printed so far.
        base_url: of predictions; likewise the two others.
        folder: where its temporary files are.
    """

    process: subprocess.Popen[str]
    said: list[str]
    base_url: str
    management_url: str
    metrics_url: str
    folder: Path

    @property
    def port(self) -> int:
        return int(self.base_url.rpartition(":")[2])

    @property
    def java(self) -> psutil.Process:
        [java] = psutil.Process(self.process.pid).children()
        return java

    @property
    def workers(self) -> list[psutil.Process]:
        """Those that run now."""
        return [child for child in self.java.children() if is_worker(child)]

    def post(self, body: bytes, path: str = f"/predictions/{MODEL_NAME}", timeout_s: float = ANSWER_S) -> Answer:
        json_type = {"Content-Type": "application/json"}
        return exchange(self.base_url + path, method="POST", body=body, headers=json_type, timeout_s=timeout_s)


@contextlib.contextmanager
def serve_command(source: Path, *options: str) -> Iterator[Serving]:
    """`sngan serve source options` on free ports and with a TMPDIR of its own, ready; nothing of it is left after.

    Its temporary files lie in a folder with a short name: pytest's paths are too long for TorchServe's sockets.
    """
    with tempfile.TemporaryDirectory(prefix="t") as folder:
        process = subprocess.Popen(
            [*COMMAND, str(source), *options, *FREE_PORTS],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "TMPDIR": folder},
            start_new_session=True,  # a signal to it must not reach the tests
        )
        said: list[str] = []
        reader = threading.Thread(target=lambda: said.extend(process.stderr or ()))
        reader.start()
        try:
            wait_for(
                lambda: any("stop with Ctrl-C" in line for line in said) or process.poll() is not None,
                "the server's start",
            )
            addresses = ADDRESSES.search("".join(said))
            assert addresses is not None, "".join(said)
            yield Serving(
                process=process,
                said=said,
                base_url=addresses[1],
                management_url=addresses[2],
                metrics_url=addresses[3],
                folder=Path(folder),
            )
        finally:
            if process.poll() is None:
                process.terminate()
            process.wait(ANSWER_S)
            reader.join(ANSWER_S)
            assert process.stderr is not None
            process.stderr.close()


def wait_for(condition: Callable[[], object], what: str, limit_s: float = ANSWER_S) -> float:
    """Seconds until `condition` held."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < limit_s, f"{what}: nothing in {limit_s:g} s"
        time.sleep(0.02)
    return time.monotonic() - started


def is_gone(process: psutil.Process) -> bool:
    """Whether it has ended; a zombie has."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    return True


@pytest.fixture(scope="session")
def bench_serve(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, Any]]:
    """`sngan bench serve FILE options`, without rivals, as the values of its JSON; its table is printed."""

    def run(source: str, *options: str) -> dict[str, Any]:
        output = tmp_path_factory.mktemp("bench") / "bench.json"
        command = [sys.executable, "-c", "from sngan_cli.main import main; main()", "bench", "serve", source]
        command += ["--no-rivals", *options, "--output", str(output)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=BENCH_S, check=False)
        assert done.returncode == 0, done.stderr
        print(done.stdout)
        values: dict[str, Any] = json.loads(output.read_text(encoding="utf-8"))
        return values

    return run


@pytest.fixture(scope="session", name="serve_command")
def serve_command_fixture() -> Callable[..., contextlib.AbstractContextManager[Serving]]:
    """`serve_command`."""
    return serve_command


@pytest.fixture(scope="module")
def steady_serving(tiny_generator_onnx: Path) -> Iterator[Serving]:
    """A tiny model with two workers and --reloadable. At the end the same workers must still be there, and answer."""
    with serve_command(tiny_generator_onnx, "--reloadable", "--workers=2", "--provider=cpu") as running:
        workers = [worker.pid for worker in running.workers]
        yield running
        assert [worker.pid for worker in running.workers] == workers
        assert running.post(b"{}").status == 200


@pytest.fixture(scope="session", name="wait_for")
def wait_for_fixture() -> Callable[..., float]:
    """`wait_for`."""
    return wait_for


@pytest.fixture(scope="session", name="is_gone")
def is_gone_fixture() -> Callable[[psutil.Process], bool]:
    """`is_gone`."""
    return is_gone


@pytest.fixture(scope="session")
def busy_factor() -> Callable[[], float]:
    """How much longer than alone something may take now: 1, or the processes that want a core per core."""
    return lambda: max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


@pytest.fixture
def report(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Prints a figure, and keeps it for the end of the run's report."""

    def say(text: str) -> None:
        print(text)
        record_property("figure", text)

    return say


@pytest.fixture(scope="session")
def digits_mar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of the `digits` preset's whole network, after one step of training: slow as the real one, untaught."""
    torch = pytest.importorskip("torch", reason="the digits generator is made by training")
    pytest.importorskip("onnxscript", reason="the digits generator is made by export")
    from export.pipeline import export_run
    from sngan_train.data import ImageData
    from sngan_train.loop import train
    from sngan_train.presets import find_preset

    folder = tmp_path_factory.mktemp("digits")
    config = find_preset("digits").override({"training": {"total_steps": 1}})
    size, channels = config.data.image_size, config.data.channels
    generator = torch.Generator().manual_seed(0)
    data = ImageData(
        images=torch.randint(0, 256, (40, channels, size, size), dtype=torch.uint8, generator=generator),
        labels=torch.arange(40) % 10,
        class_names=tuple("0123456789"),
        origin="random",
    )
    train(config, data, folder / "run", torch.device("cpu"), quiet=True)
    return export_run(folder / "run", folder / "export").archive
