"""As many cells at once as this machine has room for, each worker a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

from handlers.session import usable_cores
from sngan_train.errors import ConfigError
from sngan_train.study.cell import Cell, CellResult, write_result

MEMORY_OF_A_WORKER_BYTES = 2 * 2**30  # seen: 1.0 GiB with 50,000 images of 16 pixels; more of a paper's size
STOP_PATIENCE_S = 60.0  # a cell that is told to stop saves first

Report = Callable[[CellResult], None]


def fitting_workers(threads: int, device: str) -> int:
    """By cores, by free memory, and on GPUs one each."""
    if device == "cuda":
        import torch

        return max(1, torch.cuda.device_count())  # not yet run on a GPU
    by_cores = usable_cores() // threads
    try:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        free = 2**63
    return max(1, min(by_cores, free // MEMORY_OF_A_WORKER_BYTES))


class Worker:
    """One process of `sngan_train.study.worker`, restarted if it dies."""

    def __init__(self, threads: int, number: int, device: str) -> None:
        self._threads = threads
        self._environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        if device == "cuda":
            self._environment["CUDA_VISIBLE_DEVICES"] = str(number)  # not yet run on a GPU
        self._process: subprocess.Popen[str] | None = None
        self._starting = threading.Lock()
        self.stopped = False

    def do(self, job: dict[str, Any]) -> dict[str, Any]:
        """The answer; raises ChildProcessError if the process died over it, or if the worker was stopped."""
        # `stop` may come from another thread meanwhile: each holds on to the process that it saw.
        process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        line = ""
        with contextlib.suppress(BrokenPipeError, ValueError):  # ValueError: stopped, its pipes are closed
            process.stdin.write(json.dumps(job) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        code = process.wait()
        _close_pipes(process)
        self._process = None
        if code < 0:
            raise ChildProcessError(f"its process was killed by {signal.Signals(-code).name}")
        raise ChildProcessError(f"its process ended with exit code {code}")

    def _start(self) -> subprocess.Popen[str]:
        with self._starting:
            if self.stopped:
                raise ChildProcessError("it was stopped")
            self._process = subprocess.Popen(
                [sys.executable, "-m", "sngan_train.study.worker", str(self._threads)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=self._environment,
                start_new_session=True,  # Ctrl-C reaches the launcher, which tells the workers
            )
            return self._process

    def stop(self, *, at_once: bool) -> None:
        """End the process for good; at once means that a training saves and leaves."""
        with self._starting:
            self.stopped = True
            process = self._process
        if process is None:
            return
        if at_once:
            process.send_signal(signal.SIGTERM)
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        try:
            process.wait(STOP_PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def close(self) -> None:
        """Let go of the pipes of a stopped process, once no thread waits for its answer."""
        if self._process is not None:
            _close_pipes(self._process)


def _close_pipes(process: subprocess.Popen[str]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


def launch_here(
    cells: Sequence[Cell], root: Path, *, workers: int, threads: int, device: str, report: Report
) -> list[CellResult]:
    """Run `cells`, `workers` at once; every result is reported when it is there.

    A cell whose process dies is failed, and the others go on. KeyboardInterrupt lets running cells save, then leaves.

    Args:
        cells: what to run, in this order.
        root: the study's folder.
        workers: at once, at least 1.
        threads: of each.
        device: "auto", "cpu" or "cuda".
        report: called with each result, from one thread.
    """

    def run(worker: Worker, cell: Cell) -> CellResult:
        try:
            values = worker.do({"task": "cell", "cell": cell.to_dict(), "root": str(root), "device": device})
            return CellResult.from_dict(values)
        except ChildProcessError as error:
            if worker.stopped:  # the study ends; the cell is no failure
                raise
            result = CellResult(
                name=cell.name,
                axes=cell.axes,
                fingerprint=cell.fingerprint,
                status="failed",
                reason=str(error),
            )
            write_result(root, result)
            return result

    results = []
    answers = _in_parallel(run, cells, workers=workers, threads=threads, device=device)
    with contextlib.closing(answers):  # so that an interruption ends the workers now
        for result in answers:
            report(result)
            results.append(result)
    return results


def ask_all(
    task: str, cells: Sequence[Cell], *, workers: int, threads: int, device: str
) -> list[tuple[Cell, dict[str, Any]]]:
    """Have `workers` processes at once answer `task` for each cell; raises ConfigError if one cannot."""

    def run(worker: Worker, cell: Cell) -> tuple[Cell, dict[str, Any]]:
        try:
            return cell, worker.do({"task": task, "cell": cell.to_dict(), "device": device})
        except ChildProcessError as error:
            raise ConfigError(f"{cell.name}: could not be tried out: {error}") from error

    return list(_in_parallel(run, cells, workers=workers, threads=threads, device=device))


def _in_parallel(
    run: Callable[[Worker, Cell], Any], cells: Sequence[Cell], *, workers: int, threads: int, device: str
) -> Generator[Any, None, None]:
    """`run` on each cell with one of the workers, results as they come."""
    waiting: queue.SimpleQueue[Cell] = queue.SimpleQueue()
    for cell in cells:
        waiting.put(cell)
    finished: queue.SimpleQueue[Any] = queue.SimpleQueue()
    crew = [Worker(threads, number, device) for number in range(min(workers, max(1, len(cells))))]

    def work(worker: Worker) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                cell = waiting.get_nowait()
                try:
                    finished.put(run(worker, cell))
                except BaseException as error:  # raised again where it is waited for
                    finished.put(error)

    threads_of_crew = [threading.Thread(target=work, args=(worker,), daemon=True) for worker in crew]
    complete = False
    try:
        for thread in threads_of_crew:
            thread.start()
        for _ in cells:
            result = finished.get()
            if isinstance(result, BaseException):
                raise result
            yield result
        complete = True
    finally:
        while not complete and not waiting.empty():
            with contextlib.suppress(queue.Empty):
                waiting.get_nowait()
        for worker in crew:
            worker.stop(at_once=not complete)
        for thread in threads_of_crew:
            thread.join(STOP_PATIENCE_S)
        for worker in crew:
            worker.close()
