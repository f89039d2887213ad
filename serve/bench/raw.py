"""The baseline: ONNX Runtime with as many processes and threads as a server has workers and theirs, and no server."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from serve.errors import ServeError

END_S = 10.0


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RawBurst:
    """What some processes together did in a burst.

    Attributes:
        images_per_second: of all of them together.
        median_ms: of a call, the slowest process's.
    """

    images_per_second: float
    median_ms: float


class RawRuntime:
    """Processes of `serve.bench.raw_process`, each with the file open; made by `raw_runtime`."""

    def __init__(self, processes: list[subprocess.Popen[str]]) -> None:
        self._processes = processes

    def burst(self, images: int, busy: int, seconds: float) -> RawBurst:
        """Let `busy` of the processes run `images` at once, again and again, for `seconds`.

        Raises:
            ServeError: a process has ended.
        """
        at_work = self._processes[:busy]
        for process in at_work:
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(f"{images} {seconds}\n")
                process.stdin.flush()
        answers = [json.loads(_line(process)) for process in at_work]
        return RawBurst(
            images_per_second=sum(images * answer["calls"] / answer["seconds"] for answer in answers),
            median_ms=max(answer["median_ms"] for answer in answers),
        )


@contextlib.contextmanager
def raw_runtime(path: Path, provider: str, processes: int, threads: int) -> Iterator[RawRuntime]:
    """Open `path` in some processes for as long as the block lasts.

    Args:
        path: a generator file.
        provider: one of `handlers.providers.PROVIDERS`.
        processes: at least 1.
        threads: of one run on the CPU, in each.

    Raises:
        ServeError: a process did not open the file.
    """
    command = [sys.executable, "-m", "serve.bench.raw_process", str(path), provider, str(threads)]
    with contextlib.ExitStack() as running:
        started = [running.enter_context(_process(command)) for _ in range(processes)]
        for process in started:
            _line(process)
        yield RawRuntime(started)


@contextlib.contextmanager
def _process(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            process.communicate(timeout=END_S)  # closes its standard input, at whose end it ends
        if process.poll() is None:
            process.kill()
            process.wait()


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        assert process.stderr is not None
        said = process.stderr.read().strip().splitlines() or ["nothing"]
        raise ServeError(f"ONNX Runtime without a server does not run: {said[-1]}")
    return line
