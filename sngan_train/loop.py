"""The training loop. Running it again on the same folder goes on where it stopped."""

from __future__ import annotations

import contextlib
import fcntl
import signal
import socket
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from sngan_train.advice import check_division, warnings_about
from sngan_train.checkpoint import (
    Checkpoint,
    newest_usable,
    open_checkpoint,
    remove_partial,
    restore,
    write_checkpoint,
)
from sngan_train.config import RunConfig
from sngan_train.data import BatchStream, ImageSource, same_data
from sngan_train.distributed import Processes
from sngan_train.errors import CheckpointError, DataError, TrainError
from sngan_train.noise import Noise
from sngan_train.objective import Objective
from sngan_train.runlog import RunLog, SilentLog
from sngan_train.runtime import STEP_STREAM, choose_precision, reason_not_to_compile, seeded_generator
from sngan_train.state import TrainState
from sngan_train.steps import discriminator_step, generator_step
from sngan_train.watch import CollapseWatch, check_losses, check_weights

# What may differ between a run's checkpoint and the command that goes on with it.
CHANGEABLE = {
    ("training", key)
    for key in (
        "total_steps",
        "compile",
        "accumulation_steps",
        "log_every",
        "sample_every",
        "spectrum_every",
        "save_every",
        "keep_checkpoints",
    )
} | {("preset", ""), ("data", "source"), ("data", "residency")}  # the data itself is compared by its hash


def train(
    config: RunConfig,
    data: ImageSource,
    run_dir: Path,
    device: torch.device,
    *,
    processes: Processes | None = None,
    quiet: bool = False,
) -> Path:
    """Train, or go on training, in `run_dir`; gives the last checkpoint's folder.

    Ctrl-C and SIGTERM save first, then raise KeyboardInterrupt.

    Raises:
        CheckpointError: the folder holds a run of another config, or a checkpoint cannot be written.
        ConfigError: the batch cannot be divided among the processes.
        DataError: the folder holds a run on other data.
        DivergenceError: a loss stopped being finite.
        TrainError: another process trains in the folder.
    """
    training, optimizer = config.training, config.optimizer
    processes = processes or Processes()
    check_division(training, processes.world_size)
    objective = Objective.of(config)
    precision = choose_precision(training.precision, device)
    code_version = version("sngan")

    with _exclusive(run_dir, processes), _stop_requests(patient=processes.supervised) as stop_requested:
        facts = data.facts()
        processes.require_same(_common_settings(config, facts, device, precision))
        state = TrainState.create(config, len(data.class_names), device, precision, processes)
        checkpoint, complaints = _start(run_dir, processes)
        if checkpoint:
            _check_continuation(checkpoint, config, facts)
            restore(state, checkpoint)
        processes.require_equal(state.networks, state.step)
        batches = BatchStream(data.to(device), config.data, training.batch_size, training.seed)
        saved = checkpoint.path if checkpoint else None

        with _open_log(run_dir, config, state, quiet=quiet) as log:
            for complaint in complaints:
                log.say(f"passing over a checkpoint: {complaint}")
            log.say(_headline(config, data, state, run_dir))
            for warning in warnings_about(config, len(data.class_names)):
                log.say(f"warning: {warning}")
            if training.compile:
                _compile(state, log)

            while state.step < training.total_steps:
                noise = Noise(
                    generator=seeded_generator(training.seed, STEP_STREAM, state.step, device),
                    rank=processes.rank,
                    world_size=processes.world_size,
                )
                state.set_learning_rates(optimizer, training.total_steps)
                # The official code's order: the generator first, then the critic on fresh real batches.
                generator_loss = generator_step(state, objective, noise)
                for critic_step in range(optimizer.critic_steps):
                    number = state.step * optimizer.critic_steps + critic_step
                    images, labels = batches.batch(number, noise)
                    outcome = discriminator_step(state, objective, images, labels, noise)
                state.step += 1
                state.update_average(training.ema_decay)

                finished = state.step == training.total_steps
                stopping = processes.any(stop_requested())
                recording = due(state.step, training.log_every) or finished or stopping
                numbers = torch.stack([generator_loss, *outcome])
                if recording or device.type == "cpu":  # on a GPU, looking at a loss waits for it
                    check_losses(state.step, _named(numbers), state.networks, saved)
                if recording:
                    log.scalars(state.step, _named(processes.mean(numbers)) | state.learning_rates())
                if due(state.step, training.sample_every) or finished:
                    check_weights(state.step, state.networks, saved)
                    log.samples(state.step, state.finish_average(), data.class_names)
                if due(state.step, training.spectrum_every) or finished:
                    check_weights(state.step, state.networks, saved)
                    log.spectrum(state.step, state.networks)
                if due(state.step, training.save_every) or finished or stopping:
                    check_weights(state.step, state.networks, saved)
                    processes.require_equal(state.networks, state.step)
                    if processes.is_first:
                        saved = write_checkpoint(run_dir, state, config, facts, code_version)
                    saved = processes.from_first(saved)
                if stopping and not finished:
                    log.finish()
                    log.say(f"stopped at step {state.step}; saved {saved}; the same command goes on from there")
                    raise KeyboardInterrupt
            log.finish()
    return saved or run_dir


def _named(numbers: torch.Tensor) -> dict[str, float]:
    """What `generator_step` and `discriminator_step` gave, by the names it is logged under."""
    names = ("generator_loss", "discriminator_loss", "discriminator_real_logit", "discriminator_fake_logit")
    return dict(zip(names, numbers.tolist(), strict=True))


def due(step: int, every: int) -> bool:
    """Whether something that happens `every` so many steps happens now."""
    return step % every == 0


def _open_log(run_dir: Path, config: RunConfig, state: TrainState, *, quiet: bool) -> RunLog | SilentLog:
    if not state.processes.is_first:
        return SilentLog()
    return RunLog(
        run_dir,
        start_step=state.step,
        total_steps=config.training.total_steps,
        images_per_step=config.training.batch_size * config.optimizer.critic_steps,
        watch=CollapseWatch(config.training.loss),
        quiet=quiet,
    )


def _start(run_dir: Path, processes: Processes) -> tuple[Checkpoint | None, list[str]]:
    """The newest usable checkpoint as the first process finds it, for all; and why newer ones are none."""
    checkpoint, complaints = newest_usable(run_dir) if processes.is_first else (None, [])
    name = processes.from_first(checkpoint.path.name if checkpoint else "")
    if name and not processes.is_first:
        path = run_dir / "checkpoints" / name
        if not path.is_dir():
            raise CheckpointError(
                f"{path}: process 0 goes on from it, and on {socket.gethostname()} it is not there; the run's folder "
                "must be on a disk that all machines share"
            )
        checkpoint = open_checkpoint(path)
    return checkpoint, complaints


def _common_settings(
    config: RunConfig, facts: dict[str, Any], device: torch.device, precision: torch.dtype
) -> dict[str, object]:
    """What processes that train together must have in common. The data may lie in different places."""
    sections = {name: value for name, value in config.to_dict().items() if isinstance(value, dict)}
    settings = {f"{section}.{key}": value for section, keys in sections.items() for key, value in keys.items()}
    del settings["data.source"], settings["data.residency"]
    hashes = facts.get("files_sha256") or facts["sha256"]
    return settings | {"data": hashes, "device": device.type, "precision": precision, "torch": torch.__version__}


def _compile(state: TrainState, log: RunLog | SilentLog) -> None:
    reason = reason_not_to_compile(state.device)
    if reason:
        log.say(f"not compiling: {reason}")
        return
    log.say("compiling the networks; the first steps take a minute or two longer")
    state.compile()


def _headline(config: RunConfig, data: ImageSource, state: TrainState, run_dir: Path) -> str:
    training, world_size = config.training, state.processes.world_size
    precision = str(state.precision).removeprefix("torch.")
    goes_on = f", going on from step {state.step}" if state.step else ""
    each = training.batch_size // (world_size * training.accumulation_steps)
    division = [f"{world_size} processes"] if world_size > 1 else []
    division += [f"{training.accumulation_steps} accumulation steps"] if training.accumulation_steps > 1 else []
    divided = f" ({' x '.join(division)} x {each})" if division else ""
    return (
        f"{run_dir}: {len(data):,} images of {len(data.class_names)} classes at {config.data.image_size} pixels, "
        f"effective batch {training.batch_size}{divided}, {precision} on {state.device.type}{goes_on}"
    )


def _check_continuation(checkpoint: Checkpoint, config: RunConfig, facts: dict[str, Any]) -> None:
    """Refuse to go on with another config or other data than the run began with."""
    before, now = checkpoint.config.to_dict(), config.to_dict()
    for section, value in now.items():
        pairs = value.items() if isinstance(value, dict) else [("", value)]
        for key, wanted in pairs:
            had = before[section][key] if key else before[section]
            if had != wanted and (section, key) not in CHANGEABLE:
                name = f"{section}.{key}".rstrip(".")
                raise CheckpointError(
                    f"{checkpoint.path}: the run has {name} = {had}, the command asks for {wanted}; "
                    "use the same setting, or another folder with --run"
                )
    if list(checkpoint.class_names) != facts["class_names"]:
        raise DataError(_other_classes(checkpoint, facts["class_names"]))
    if not same_data(checkpoint.data, facts):
        raise DataError(
            f"{checkpoint.path}: the run learned from {checkpoint.data['origin']} "
            f"({checkpoint.data['num_images']:,} images), and the data given is another ({facts['origin']}, "
            f"{facts['num_images']:,} images); use the same data, or another folder with --run"
        )
    if checkpoint.step > config.training.total_steps:
        raise CheckpointError(
            f"{checkpoint.path}: already at step {checkpoint.step}, beyond training.total_steps = "
            f"{config.training.total_steps}"
        )


def _other_classes(checkpoint: Checkpoint, given: list[str]) -> str:
    before = list(checkpoint.class_names)
    gone = [name for name in before if name not in given][:3]
    new = [name for name in given if name not in before][:3]
    changes = [f"without {', '.join(gone)}" if gone else "", f"with {', '.join(new)} instead" if new else ""]
    detail = " and ".join(change for change in changes if change) or "in another order"
    return (
        f"{checkpoint.path}: the run has {len(before)} classes and the data given {len(given)}, {detail}; "
        "use the same data, or another folder with --run"
    )


@contextlib.contextmanager
def _exclusive(run_dir: Path, processes: Processes) -> Iterator[None]:
    """Hold the folder's lock; the system drops it when the process dies, however it dies."""
    if not processes.is_first:  # the first process holds it for all
        yield
        return
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        lock = (run_dir / ".lock").open("w")
    except OSError as error:
        raise TrainError(f"{run_dir}: cannot be written to ({error.strerror})") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise TrainError(f"{run_dir}: another process trains here; stop it, or use another --run") from error
        try:
            remove_partial(run_dir)
            yield
        except OSError as error:  # mostly a full disk; data sources have errors of their own
            raise TrainError(
                f"{run_dir}: cannot be written to ({error.strerror or error}); checkpoints written earlier are whole, "
                "and the same command goes on from the last once there is room"
            ) from error


@contextlib.contextmanager
def _stop_requests(*, patient: bool) -> Iterator[Any]:
    """Turn Ctrl-C and SIGTERM into a question that the loop asks between steps; a second one acts at once.

    Not if `patient`: a scheduler signals every process, and torchrun its own ones once more.
    """
    requested = False

    def on_signal(number: int, frame: object) -> None:
        nonlocal requested
        if requested and not patient:
            raise KeyboardInterrupt
        requested = True

    previous = {}
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            previous[number] = signal.signal(number, on_signal)
    except ValueError:  # not the main thread: whoever called handles signals
        pass
    try:
        yield lambda: requested
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
