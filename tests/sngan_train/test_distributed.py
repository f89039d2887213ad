"""Two processes that train together do what one does: on the CPU, over Gloo, started by torchrun."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file
from torch.distributed import TCPStore

from sngan_train.checkpoint import list_checkpoints, open_checkpoint
from sngan_train.distributed import Processes, _meet
from sngan_train.errors import ConfigError
from sngan_train.stop_requests import stop_requests

WORKER = Path(__file__).parent / "distributed_worker.py"
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
PATIENCE_S = 240.0
# Float32 sums in another order. Measured: losses of size 4 to 22 to 3e-6, weights to 2e-7.
LOSS_ATOL = 1e-5
WEIGHT_ATOL = 1e-5


def load_worker() -> Any:
    specification = importlib.util.spec_from_file_location("distributed_worker", WORKER)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


worker = load_worker()


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes left: a run for every case, and what each of them found."""
    folder = tmp_path_factory.mktemp("together")
    command = [*TORCHRUN, str(WORKER), "measure", str(folder)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def found(folder: Path, name: str) -> list[Any]:
    """What each process found, by rank."""
    return [json.loads((folder / f"found-{rank}.json").read_text())[name] for rank in range(2)]


def losses(run_dir: Path) -> list[dict[str, float]]:
    records = [json.loads(line) for line in (run_dir / "stats.jsonl").read_text().splitlines()]
    return [
        {key: value for key, value in record.items() if key.endswith(("loss", "logit"))}
        for record in records
        if "generator_loss" in record
    ]


def weights(run_dir: Path) -> dict[str, torch.Tensor]:
    checkpoint = open_checkpoint(run_dir).path
    return {
        f"{name}/{key}": value
        for name in ("generator", "generator_ema", "discriminator")
        for key, value in load_file(checkpoint / f"{name}.safetensors").items()
    }


@pytest.mark.parametrize("case", worker.CASES)
def test_two_processes_learn_what_one_does(together: Path, tmp_path: Path, case: str) -> None:
    worker.train_with_frozen_batch_norm(case, tmp_path / case, Processes())
    alone, shared = losses(tmp_path / case), losses(together / case)
    assert len(alone) == len(shared) == worker.STEPS
    for expected, actual in zip(alone, shared, strict=True):
        assert actual == pytest.approx(expected, rel=0, abs=LOSS_ATOL)
    expected_weights = weights(tmp_path / case)
    differences = {
        name: (value - expected_weights[name]).abs().max().item() for name, value in weights(together / case).items()
    }
    assert {name: value for name, value in differences.items() if value > WEIGHT_ATOL} == {}


def test_batch_statistics_are_each_process_s_own(together: Path, tmp_path: Path) -> None:
    """What the comparison above had to take away: with batch norm, two halves are not the whole."""
    worker.loop.train(worker.config_of("spectral norm"), worker.some_data(), tmp_path, worker.CPU, quiet=True)
    alone, shared = losses(tmp_path)[0], losses(together / "plain")[0]
    assert abs(alone["generator_loss"] - shared["generator_loss"]) > 1e-3


def test_altered_u_or_weights_are_noticed_and_batch_statistics_may_differ(together: Path) -> None:
    for refusals in found(together, "refusals"):
        assert refusals.keys() == {"u", "weight", "settings"}
        for kind in ("u", "weight"):
            assert re.search(rf"step 7: 1 tensors differ .* first is generator\.\S+\.{kind};", refusals[kind])
        assert "process 1 on" in refusals["settings"]
        assert "training.total_steps = 11, process 0" in refusals["settings"]


def test_what_the_processes_tell_one_another(together: Path) -> None:
    assert found(together, "any") == [[False, True]] * 2
    assert found(together, "mean") == [0.5] * 2
    assert found(together, "from_first") == ["word of 0"] * 2
    assert found(together, "turns") == [[], ["turn-0"]]


def test_the_first_process_alone_writes(together: Path) -> None:
    first, second = found(together, "touched")
    assert any("checkpoints" in path for path in first)
    assert any("stats.jsonl" in path for path in first)
    assert second == []
    steps = [record["step"] for record in records(together / "plain" / "stats.jsonl", "generator_loss")]
    assert steps == list(range(1, worker.STEPS + 1))


def test_all_go_on_from_the_checkpoint_that_the_first_sees(together: Path) -> None:
    first, second = found(together, "beginnings")
    assert first == {"shared": worker.STEPS, "other": worker.STEPS}
    assert second["shared"] == worker.STEPS
    assert "elsewhere/checkpoints/step-000004: process 0 goes on from it" in second["other"]
    assert "disk that all machines share" in second["other"]


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, Processes()),
        ({"RANK": "3"}, Processes()),
        ({"WORLD_SIZE": "1", "TORCHELASTIC_RUN_ID": "x"}, Processes(supervised=True)),
        (
            {"WORLD_SIZE": "4", "RANK": "3", "LOCAL_RANK": "1", "MASTER_ADDR": "a", "MASTER_PORT": "1"},
            Processes(rank=3, world_size=4, local_rank=1),
        ),
    ],
)
def test_the_environment_says_who_a_process_is(environment: Mapping[str, str], expected: Processes) -> None:
    assert Processes.of_environment(environment) == expected


def test_half_an_environment_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"WORLD_SIZE=4 and no RANK, no MASTER_PORT; start .* with torchrun"):
        Processes.of_environment({"WORLD_SIZE": "4", "MASTER_ADDR": "a"})
    with pytest.raises(ConfigError, match="WORLD_SIZE='many', which is no number"):
        Processes.of_environment({"WORLD_SIZE": "many"})


@pytest.mark.parametrize("patient", [True, False])
def test_a_signal_that_torchrun_repeats_is_not_a_second_one(patient: bool) -> None:
    outcome = contextlib.nullcontext() if patient else pytest.raises(KeyboardInterrupt)
    with outcome, stop_requests(patient=patient) as stop_requested:
        assert not stop_requested()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop_requested()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop_requested()


def test_a_new_attempt_is_not_taken_for_one_that_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torchrun keeps its store when it restarts the processes; the other one comes first, and finds what was left."""
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    kept = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    kept.set("sngan/attempt", "old")
    kept.set("sngan/old/1", "dead")
    kept.set("sngan/old/met", "dead")
    with ThreadPoolExecutor(2) as pool:
        other = pool.submit(_meet, Processes(rank=1, world_size=2), "127.0.0.1", kept.port)
        time.sleep(0.3)
        assert not other.done()
        first = pool.submit(_meet, Processes(rank=0, world_size=2), "127.0.0.1", kept.port)
        first.result(10).set("address", "here")
        assert other.result(10).get("address") == b"here"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("held", "message"), [(False, "bad.png: cannot be read"), (True, "another process trains here")]
)
def test_a_failure_of_one_ends_all_and_is_told_once(tmp_path: Path, held: bool, message: str) -> None:
    """The second process fails while the first waits for its gradients, or the first before the second has begun."""
    import fcntl

    (tmp_path / "run").mkdir()
    with (tmp_path / "run" / ".lock").open("w") as lock:
        if held:
            fcntl.flock(lock, fcntl.LOCK_EX)
        command = [*TORCHRUN, str(WORKER), "fail", str(tmp_path)]
        done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    told = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(told) == 1
    assert message in told[0]
    # torchrun's report names the process whose end it sees first, which is not always the one that failed first.
    assert "Root Cause" in done.stderr
    assert f'{WORKER.name}", line' not in done.stderr  # no traceback of ours; torchrun's own is not to be helped


def digits_command(run_dir: Path, **training: object) -> list[str]:
    settings = {
        "generator.channels": 16,
        "discriminator.channels": 16,
        "training.precision": "float32",
        "training.batch_size": 16,
        "training.log_every": 1,
        **{f"training.{key}": value for key, value in training.items()},
    }
    command = [*TORCHRUN, "--max-restarts", "3", "-m", "--", "sngan_cli", "train", "--preset", "digits"]
    command += [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    return [*command, "--run", str(run_dir)]


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert process.poll() is None, "ended too early"
        assert time.monotonic() < deadline
        time.sleep(0.02)


def workers_of(torchrun: subprocess.Popen[bytes]) -> dict[int, psutil.Process]:
    """The processes that torchrun has started, by rank."""
    return {int(child.environ()["RANK"]): child for child in psutil.Process(torchrun.pid).children()}


def newest_step(run_dir: Path) -> int:
    return max((int(path.name.removeprefix("step-")) for path in list_checkpoints(run_dir)), default=0)


def records(path: Path, key: str) -> list[dict[str, Any]]:
    return [record for record in map(json.loads, path.read_text().splitlines()) if key in record]


@pytest.mark.slow
def test_killed_workers_are_restarted_and_the_result_is_the_same_bits(tmp_path: Path) -> None:
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    schedule = {"total_steps": 30, "save_every": 5, "keep_checkpoints": 9, "sample_every": 30, "spectrum_every": 30}
    done = subprocess.run(digits_command(straight, **schedule), env=ENVIRONMENT, capture_output=True, check=True)
    assert done.stdout.decode().splitlines() == [str(straight)]

    process = subprocess.Popen(digits_command(killed, **schedule), env=ENVIRONMENT, stderr=subprocess.PIPE)
    for step, rank in ((10, 1), (20, 0)):  # one that computes, then the one that writes
        wait_until(lambda step=step: newest_step(killed) >= step, process)  # type: ignore[misc]
        workers_of(process)[rank].kill()
    _, stderr = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, stderr.decode()
    assert len(re.findall(rb"going on from step (?:10|15|20|25)", stderr)) == 2

    assert [path.name for path in list_checkpoints(killed)] == [path.name for path in list_checkpoints(straight)]
    for checkpoint in list_checkpoints(killed):
        open_checkpoint(checkpoint)
    assert not list((killed / "checkpoints").glob(".writing-*"))
    expected = weights(straight)
    assert [name for name, value in weights(killed).items() if not torch.equal(value, expected[name])] == []
    steps = [record["step"] for record in records(killed / "stats.jsonl", "generator_loss")]
    assert steps == list(range(1, 31))


@pytest.mark.slow
def test_sigterm_saves_the_step_it_came_in(tmp_path: Path) -> None:
    """To all processes, as a scheduler sends it, so that the workers get it once more from torchrun."""
    never = {"total_steps": 10**6, "save_every": 10**6, "sample_every": 10**6, "spectrum_every": 10**6}
    never["batch_size"] = 256  # so that a step takes longer than the two signals are apart
    process = subprocess.Popen(digits_command(tmp_path, **never), env=ENVIRONMENT, stderr=subprocess.PIPE)
    stats = tmp_path / "stats.jsonl"
    wait_until(lambda: stats.exists() and len(stats.read_text().splitlines()) >= 3, process)
    workers = workers_of(process)
    for worker_process in workers.values():
        worker_process.send_signal(signal.SIGTERM)
    time.sleep(0.1)
    process.terminate()
    _, stderr = process.communicate(timeout=60)
    assert process.returncode != 0
    assert stderr.decode().count("stopped at step") == 1
    assert "Root Cause" not in stderr.decode()
    assert newest_step(tmp_path) == records(stats, "generator_loss")[-1]["step"] >= 3
    assert open_checkpoint(tmp_path).step == newest_step(tmp_path)
    assert not [child for child in workers.values() if child.is_running()]
