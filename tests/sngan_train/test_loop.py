"""Resume is exact: stopped by hand, stopped by SIGKILL, or never stopped, the weights are the same bits."""

import dataclasses
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from sngan_train.checkpoint import list_checkpoints, open_checkpoint
from sngan_train.config import RunConfig
from sngan_train.data import ImageData
from sngan_train.errors import CheckpointError, DataError, DivergenceError, TrainError
from sngan_train.steps import DiscriminatorOutcome

Train = Callable[[RunConfig, ImageData, Path], Path]
NETWORKS = ("generator", "generator_ema", "discriminator")


def weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    return {
        f"{name}/{key}": value
        for name in NETWORKS
        for key, value in load_file(checkpoint / f"{name}.safetensors").items()
    }


def assert_same_bits(a: Path, b: Path) -> None:
    first, second = weights(a), weights(b)
    assert first.keys() == second.keys()
    different = [name for name in first if not torch.equal(first[name], second[name])]
    assert not different
    optimizers = [torch.load(path / "training_state.pt", weights_only=True) for path in (a, b)]
    for name in optimizers[0]:
        for key, state in optimizers[0][name]["state"].items():
            for entry, value in state.items():
                assert torch.equal(value, optimizers[1][name]["state"][key][entry]), (name, key, entry)


def test_two_and_two_steps_are_four(
    tiny_config: RunConfig, tiny_data: ImageData, train_quietly: Train, tmp_path: Path
) -> None:
    straight = train_quietly(tiny_config, tiny_data, tmp_path / "straight")
    halted = _Halt(at_step=2)
    with pytest.raises(KeyboardInterrupt):
        halted.train(tiny_config, tiny_data, tmp_path / "halted")
    assert open_checkpoint(tmp_path / "halted").step == 2
    resumed = train_quietly(tiny_config, tiny_data, tmp_path / "halted")
    assert_same_bits(straight, resumed)


def test_steps_change_the_weights(
    tiny_config: RunConfig, tiny_data: ImageData, train_quietly: Train, tmp_path: Path
) -> None:
    """What the equality above could not tell: that there was something to be equal."""
    last = train_quietly(tiny_config, tiny_data, tmp_path)
    before, after = weights(list_checkpoints(tmp_path)[0]), weights(last)
    assert any(not torch.equal(before[name], after[name]) for name in before)
    other = tiny_config.override({"training": {"seed": 1}})
    elsewhere = weights(train_quietly(other, tiny_data, tmp_path / "other"))
    assert any(not torch.equal(elsewhere[name], after[name]) for name in after)


@pytest.mark.slow
def test_killed_half_way_and_resumed_is_never_killed(tmp_path: Path) -> None:
    """The real command on the real digits, SIGKILLed as soon as a checkpoint of the middle is on disk."""
    settings = {
        "training.precision": "float32",
        "training.total_steps": "30",
        "training.save_every": "5",
        "training.keep_checkpoints": "9",
        "training.sample_every": "30",
        "generator.channels": "16",
        "discriminator.channels": "16",
    }
    command = [sys.executable, "-m", "sngan_cli", "train", "--preset", "digits"]
    command += [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]

    straight = tmp_path / "straight"
    subprocess.run([*command, "--run", str(straight)], check=True, capture_output=True)

    killed = tmp_path / "killed"
    process = subprocess.Popen([*command, "--run", str(killed)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not any(path.name >= "step-000015" for path in list_checkpoints(killed)):
        assert process.poll() is None, "finished before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert not (killed / "checkpoints" / "step-000030").exists()
    (killed / "checkpoints" / ".writing-step-000020").mkdir(exist_ok=True)  # as a kill in mid-write leaves it

    subprocess.run([*command, "--run", str(killed)], check=True, capture_output=True)
    assert_same_bits(straight / "checkpoints" / "step-000030", killed / "checkpoints" / "step-000030")
    assert not list((killed / "checkpoints").glob(".writing-*"))
    records = [json.loads(line) for line in (killed / "stats.jsonl").read_text().splitlines()]
    steps = [record["step"] for record in records if "generator_loss" in record]
    assert steps == sorted(set(steps))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("largest_file_bytes", "words"),
    [(2_000, "cannot be written to (File too large)"), (20_000, "could not be written")],
)
def test_a_file_that_cannot_be_written_is_an_error_and_costs_no_checkpoint(
    tmp_path: Path, largest_file_bytes: int, words: str
) -> None:
    """The system refuses to let files grow, as it does on a full disk: first a log's, then a checkpoint's."""
    options = ["--run", str(tmp_path / "run")]
    for setting in (
        "generator.channels=8",
        "discriminator.channels=8",
        "training.log_every=1",
        "training.save_every=2",
    ):
        options += ["--set", setting]
    command = [sys.executable, "-m", "sngan_cli", "train", *options, "--set"]
    subprocess.run([*command, "training.total_steps=2"], check=True, capture_output=True)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file_bytes, largest_file_bytes))

    failed = subprocess.run(
        [*command, "training.total_steps=90"], capture_output=True, text=True, check=False, preexec_fn=limit
    )
    assert failed.returncode == 1
    assert "Traceback" not in failed.stderr
    assert words in failed.stderr.splitlines()[-1]
    assert open_checkpoint(tmp_path / "run").step == 2
    subprocess.run([*command, "training.total_steps=4"], check=True, capture_output=True)
    assert open_checkpoint(tmp_path / "run").step == 4


def test_a_finished_run_is_left_as_it_is(
    tiny_config: RunConfig, tiny_data: ImageData, train_quietly: Train, tmp_path: Path
) -> None:
    last = train_quietly(tiny_config, tiny_data, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in last.iterdir()}
    assert train_quietly(tiny_config, tiny_data, tmp_path) == last
    assert {path: path.stat().st_mtime_ns for path in last.iterdir()} == before


def test_another_config_or_other_data_is_refused(
    tiny_config: RunConfig, tiny_data: ImageData, train_quietly: Train, tmp_path: Path
) -> None:
    train_quietly(tiny_config, tiny_data, tmp_path)
    wider = tiny_config.override({"generator": {"channels": 16}})
    with pytest.raises(CheckpointError, match=r"generator.channels = 8, the command asks for 16"):
        train_quietly(wider, tiny_data, tmp_path)
    other = ImageData(
        images=255 - tiny_data.images,
        labels=tiny_data.labels,
        class_names=tiny_data.class_names,
        origin="inverse",
    )
    longer = tiny_config.override({"training": {"total_steps": 6}})
    with pytest.raises(DataError, match="learned from random"):
        train_quietly(longer, other, tmp_path)
    assert train_quietly(longer, tiny_data, tmp_path).name == "step-000006"
    with pytest.raises(CheckpointError, match="already at step 6"):
        train_quietly(tiny_config, tiny_data, tmp_path)


def test_another_list_of_classes_is_refused_by_name(
    tiny_config: RunConfig, tiny_data: ImageData, train_quietly: Train, tmp_path: Path
) -> None:
    train_quietly(tiny_config, tiny_data, tmp_path)
    longer = tiny_config.override({"training": {"total_steps": 6}})
    renamed = dataclasses.replace(tiny_data, class_names=("a", "b", "zebra"))
    with pytest.raises(DataError, match="3 classes and the data given 3, without c and with zebra instead"):
        train_quietly(longer, renamed, tmp_path)
    turned = dataclasses.replace(tiny_data, class_names=("b", "a", "c"))
    with pytest.raises(DataError, match="in another order"):
        train_quietly(longer, turned, tmp_path)


def test_two_runs_in_one_folder(
    tiny_config: RunConfig, tiny_data: ImageData, train_quietly: Train, tmp_path: Path
) -> None:
    import fcntl

    with (tmp_path / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(TrainError, match="another process trains here"):
            train_quietly(tiny_config, tiny_data, tmp_path)


def test_a_loss_that_is_not_finite_stops_the_run(
    tiny_config: RunConfig, tiny_data: ImageData, train_quietly: Train, tmp_path: Path
) -> None:
    wild = tiny_config.override(
        {"optimizer": {"generator_learning_rate": 0.9}, "training": {"total_steps": 4, "save_every": 2}}
    )
    import sngan_train.loop as loop

    calls = 0
    original = loop.discriminator_step

    def poisoned(*arguments: object) -> DiscriminatorOutcome:
        nonlocal calls
        calls += 1
        outcome = original(*arguments)  # type: ignore[arg-type]
        poison = torch.tensor(float("nan"))
        return outcome._replace(loss=poison) if calls > 2 * tiny_config.optimizer.critic_steps else outcome

    loop.discriminator_step = poisoned  # type: ignore[assignment]
    try:
        with pytest.raises(DivergenceError, match=r"discriminator loss became nan at step 3.*step-000002"):
            train_quietly(wild, tiny_data, tmp_path)
    finally:
        loop.discriminator_step = original
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step-000002"]


class _Halt:
    """Train, and have a SIGTERM arrive during a step."""

    def __init__(self, at_step: int) -> None:
        self._at_step = at_step

    def train(self, config: RunConfig, data: ImageData, run_dir: Path) -> None:
        import sngan_train.loop as loop

        original = loop.generator_step
        steps = 0

        def counted(*arguments: object) -> torch.Tensor:
            nonlocal steps
            steps += 1
            if steps == self._at_step:
                os.kill(os.getpid(), signal.SIGTERM)
            return original(*arguments)  # type: ignore[arg-type]

        loop.generator_step = counted  # type: ignore[assignment]
        try:
            loop.train(config, data, run_dir, torch.device("cpu"), quiet=True)
        finally:
            loop.generator_step = original
