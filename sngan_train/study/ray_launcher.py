"""The same grid on a Ray cluster: a cell is a task, run again elsewhere when its worker or node dies.

The study's folder must be on a disk that all nodes share. A cell that is run again goes on from its last checkpoint.
"""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sngan_train.errors import ConfigError, TrainError
from sngan_train.study.cell import Cell, CellResult, write_result

RETRIES = 3  # of a cell whose worker or node died; what a cell itself raises is not tried again
REACH_TIMEOUT_S = 10.0
MARKER_PREFIX = ".ray-"
Run = Callable[[Cell, Path], CellResult]
Report = Callable[[CellResult], None]


def launch_on_ray(
    cells: Sequence[Cell],
    root: Path,
    *,
    run: Run,
    cpus_per_cell: float,
    gpus_per_cell: float,
    address: str | None,
    report: Report,
) -> list[CellResult]:
    """Run `cells` as tasks of a cluster, as many at once as it has room for.

    Args:
        cells: what to run.
        root: the study's folder, under the same path on every node.
        run: does one cell; must be importable on the nodes.
        cpus_per_cell: that Ray sets aside, and threads that torch gets.
        gpus_per_cell: likewise; 0 is none. Not yet run on a GPU.
        address: of a running cluster, as in "auto" or "10.0.0.1:6379"; None starts Ray on this machine alone.
        report: called with each result when it is there.

    Raises:
        ConfigError: Ray is not installed, or there is already a Ray in this process.
        TrainError: the cluster cannot be reached.
    """
    try:
        import ray
    except ModuleNotFoundError as error:
        raise ConfigError(f"--launcher ray needs {error.name}: `pip install 'sngan[ray]'`") from error

    _connect(ray, address)
    root = root.absolute()
    root.mkdir(parents=True, exist_ok=True)
    marker = root / f"{MARKER_PREFIX}{uuid.uuid4().hex}"
    try:
        marker.touch()
        task = ray.remote(_task).options(
            num_cpus=cpus_per_cell, num_gpus=gpus_per_cell, max_retries=RETRIES, retry_exceptions=False
        )
        threads = max(1, int(cpus_per_cell))
        waiting = {task.remote(cell, root, marker, run, threads): cell for cell in cells}
        results = []
        while waiting:
            (finished,), _ = ray.wait(list(waiting), num_returns=1)
            cell = waiting.pop(finished)
            result = _outcome(ray, finished, cell, root)
            report(result)
            results.append(result)
        return results
    finally:
        marker.unlink(missing_ok=True)
        ray.shutdown()  # cancels what still runs


def _connect(ray: Any, address: str | None) -> None:
    if ray.is_initialized():
        raise ConfigError("this process is already connected to a Ray; a study connects by itself")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would report to its makers
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    try:
        if host and port.isdigit():  # Ray itself would try for two minutes
            socket.create_connection((host, int(port)), timeout=REACH_TIMEOUT_S).close()
        ray.init(address=address or "local", include_dashboard=False if address is None else None, log_to_driver=False)
    except Exception as error:  # ConnectionError, RuntimeError and Ray's own, by what is wrong
        reason = str(error).strip().partition("\n")[0]
        raise TrainError(f"no Ray at {address or 'this machine'}: {reason}; `ray status` says what runs") from error


def _task(cell: Cell, root: Path, marker: Path, run: Run, threads: int) -> CellResult:
    """On a node."""
    if not marker.exists():
        raise TrainError(
            f"{root} is not the same folder on this node; a study on Ray needs a disk that all nodes share"
        )
    os.environ["OMP_NUM_THREADS"] = str(threads)  # read when torch is imported, by `run`
    return run(cell, root)


def _outcome(ray: Any, finished: Any, cell: Cell, root: Path) -> CellResult:
    """The task's result; what it raised, or that it died too often, is a failed cell."""
    try:
        result: CellResult = ray.get(finished)
        return result
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        reason = str(cause) if isinstance(cause, TrainError) else f"{type(cause).__name__}: {cause}"
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.NodeDiedError, ray.exceptions.OutOfMemoryError) as error:
        reason = f"its worker died {RETRIES + 1} times ({type(error).__name__})"
    except ray.exceptions.RayError as error:
        reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
    failed = CellResult(name=cell.name, axes=cell.axes, fingerprint=cell.fingerprint, status="failed", reason=reason)
    write_result(root, failed)
    return failed
