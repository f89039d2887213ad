"""Cells run in processes of their own: one that dies takes no other with it, and finished ones are not run again."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from sngan_train.metrics.protocol import find_protocol
from sngan_train.study import conduct, local_launcher
from sngan_train.study.cell import Cell, CellResult, read_result, result_path, run_path
from sngan_train.study.conduct import OUTCOME, run_cell
from sngan_train.study.estimate import seconds_of, time_cell
from sngan_train.study.grids import STUDIES, Options, cells_of
from sngan_train.study.local_launcher import Worker, fitting_workers, launch_here
from sngan_train.study.scales import SCALES

# Says what it was asked, and dies when asked for a cell with "weight-norm" in its name.
STAND_IN = """
import json, os, signal, sys
for line in sys.stdin:
    job = json.loads(line)
    name = job["cell"]["name"]
    if "weight-norm" in name:
        os.kill(os.getpid(), signal.SIGKILL)
    print(json.dumps({"name": name, "axes": job["cell"]["axes"], "fingerprint": "f", "status": "done",
                      "collapse_warnings": [str(os.getpid())]}), flush=True)
"""


def cells() -> list[Cell]:
    options = Options(methods=("sn", "weight-norm", "batch-norm"), settings=("B", "C"), total_steps=2, data="digits")
    return cells_of(STUDIES["settings"], SCALES["tiny"], options)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that do nothing, at once."""
    start = subprocess.Popen

    def popen(command: list[str], **options: object) -> "subprocess.Popen[str]":
        return start([sys.executable, "-c", STAND_IN], **options)  # type: ignore[call-overload, no-any-return]

    monkeypatch.setattr(local_launcher.subprocess, "Popen", popen)


@pytest.mark.usefixtures("stand_in")
def test_a_cell_whose_process_dies_is_failed_and_the_rest_go_on(tmp_path: Path) -> None:
    told: list[CellResult] = []
    results = launch_here(cells(), tmp_path, workers=2, threads=1, device="cpu", report=told.append)
    assert results == told
    by_status = {status: [r.axes["method"] for r in results if r.status == status] for status in ("done", "failed")}
    assert sorted(by_status["done"]) == ["batch-norm"] * 4 + ["sn"] * 4
    assert by_status["failed"] == ["weight-norm"] * 4
    assert {result.reason for result in results if result.status == "failed"} == {"its process was killed by SIGKILL"}
    on_disk = json.loads(result_path(tmp_path, next(r.name for r in results if r.status == "failed")).read_text())
    assert on_disk["status"] == "failed"


@pytest.mark.usefixtures("stand_in")
def test_a_worker_does_many_cells(tmp_path: Path) -> None:
    sn = [cell for cell in cells() if cell.axes["method"] == "sn"]
    results = launch_here(sn, tmp_path, workers=1, threads=1, device="cpu", report=lambda result: None)
    assert len({result.collapse_warnings for result in results}) == 1


@pytest.mark.usefixtures("stand_in")
def test_what_a_report_raises_ends_the_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[str]] = []
    start = local_launcher.subprocess.Popen

    def popen(*args: Any, **options: Any) -> "subprocess.Popen[str]":
        started.append(start(*args, **options))
        return started[-1]

    def interrupt(result: CellResult) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(local_launcher.subprocess, "Popen", popen)
    with pytest.raises(KeyboardInterrupt):
        launch_here(cells(), tmp_path, workers=2, threads=1, device="cpu", report=interrupt)
    assert all(process.poll() is not None for process in started)
    assert all(pipe is not None and pipe.closed for process in started for pipe in (process.stdin, process.stdout))


def test_a_stopped_worker_starts_no_process() -> None:
    worker = Worker(1, 0, "cpu")
    worker.stop(at_once=True)
    with pytest.raises(ChildProcessError, match="stopped"):
        worker.do({"task": "time"})


def test_a_killed_worker_is_told_from_one_that_failed() -> None:
    worker = Worker(1, 0, "cpu")
    cell = cells()[0]

    def kill() -> None:
        while worker._process is None:
            time.sleep(0.01)
        os.kill(worker._process.pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(ChildProcessError, match="SIGKILL"):
        worker.do({"task": "time", "cell": cell.to_dict(), "device": "cpu"})
    killer.join()


def test_as_many_as_fit() -> None:
    assert 1 <= fitting_workers(1, "cpu") <= (os.cpu_count() or 1)
    assert fitting_workers(10_000, "cpu") == 1


def test_the_estimate_counts_what_a_cell_does() -> None:
    one, five = (
        cells_of(STUDIES["settings"], SCALES["tiny"], Options(settings=(setting,), methods=("sn",)))[0]
        for setting in ("B", "A")
    )
    times = {"generator_s": 0.5, "discriminator_s": 1.0, "image_s": 0.01}
    assert seconds_of(one, times, 100) == pytest.approx(1.1 * 1000 * 1.5 + 1.0)
    assert seconds_of(five, times, 100) == pytest.approx(1.1 * 1000 * 5.5 + 1.0)


@pytest.mark.slow
def test_a_cell_is_trained_evaluated_and_not_done_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = dataclasses.replace(find_protocol("quick"), real_images=100, fake_images=40, score_images=40)
    monkeypatch.setattr(conduct, "find_protocol", lambda name: few)
    monkeypatch.setattr(conduct, "REFERENCE_CACHE", tmp_path / "references")
    cell = cells()[0]
    times = time_cell(cell, "cpu")
    assert all(value > 0 for value in times.values())
    result = run_cell(cell, tmp_path, "cpu")
    assert (result.status, result.reason) == ("done", "")
    assert read_result(tmp_path, cell) == result
    assert result.record is not None
    assert result.record["step"] == 2
    assert result.record["headline"] == "KD(efficientnet-lite0)"
    assert result.record["real"]["images"] == 100
    assert result.spectrum is not None
    assert len(result.spectrum) == 8  # seven convolutions and the linear layer
    assert (result_path(tmp_path, cell.name).parent / result.sample).exists()
    assert str(tmp_path) not in result_path(tmp_path, cell.name).read_text()

    outcome = run_path(tmp_path, cell.name) / OUTCOME
    outcome.write_text('{"status": "trained", "train_seconds": 12.5}')
    assert run_cell(cell, tmp_path, "cpu").train_seconds == 12.5  # the training itself was not repeated
    outcome.write_text('{"status": "diverged", "reason": "step 1: NaN", "train_seconds": 1}')
    diverged = run_cell(cell, tmp_path, "cpu")
    assert (diverged.status, diverged.reason, diverged.record) == ("diverged", "step 1: NaN", None)


def test_a_cell_that_cannot_be_run_says_why(tmp_path: Path) -> None:
    options = Options(methods=("sn",), settings=("B",), total_steps=2, data="folder:/nowhere")
    cell = cells_of(STUDIES["settings"], SCALES["tiny"], options)[0]
    result = run_cell(cell, tmp_path, "cpu")
    assert result.status == "failed"
    assert "nowhere" in result.reason
    assert not result.finished
