"""The training loop. Running it again on the same folder goes on where it stopped."""

from __future__ import annotations

import contextlib
import fcntl
import signal
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from sngan_train.checkpoint import (
    Checkpoint,
    newest_usable,
    remove_partial,
    restore,
    write_checkpoint,
)
from sngan_train.config import RunConfig
from sngan_train.data import BatchStream, ImageData
from sngan_train.errors import CheckpointError, DataError, TrainError
from sngan_train.runlog import RunLog, check_losses
from sngan_train.runtime import STEP_STREAM, choose_precision, seeded_generator
from sngan_train.state import TrainState, first_bad_parameter
from sngan_train.steps import discriminator_step, generator_step

# What may differ between a run's checkpoint and the command that goes on with it.
CHANGEABLE = {
    ("training", key) for key in ("total_steps", "log_every", "sample_every", "save_every", "keep_checkpoints")
} | {("preset", ""), ("data", "source")}  # the data itself is compared by its hash


def train(config: RunConfig, data: ImageData, run_dir: Path, device: torch.device, *, quiet: bool = False) -> Path:
    """Train, or go on training, in `run_dir`; gives the last checkpoint's folder.

    Ctrl-C and SIGTERM save first, then raise KeyboardInterrupt.

    Raises:
        CheckpointError: the folder holds a run of another config, or a checkpoint cannot be written.
        DataError: the folder holds a run on other data.
        DivergenceError: a loss stopped being finite.
        TrainError: another process trains in the folder.
    """
    training, optimizer = config.training, config.optimizer
    num_classes = len(data.class_names)
    precision = choose_precision(training.precision, device)
    code_version = version("sngan")

    with _exclusive(run_dir), _stop_requests() as stop_requested:
        facts = data.facts()
        state = TrainState.create(config, num_classes, device, precision)
        checkpoint, complaints = newest_usable(run_dir)
        if checkpoint:
            _check_continuation(checkpoint, config, facts)
            restore(state, checkpoint)
        batches = BatchStream(data.to(device), config.data, training.batch_size, training.seed)
        saved = checkpoint.path if checkpoint else None

        with RunLog(
            run_dir,
            start_step=state.step,
            total_steps=training.total_steps,
            images_per_step=training.batch_size * optimizer.critic_steps,
            quiet=quiet,
        ) as log:
            for complaint in complaints:
                log.say(f"passing over a checkpoint: {complaint}")
            log.say(_headline(config, data, state, device, run_dir))

            while state.step < training.total_steps:
                noise = seeded_generator(training.seed, STEP_STREAM, state.step, device)
                state.set_learning_rates(optimizer, training.total_steps)
                # The official code's order: the generator first, then the critic on fresh real batches.
                generator_loss = generator_step(state, training.batch_size * training.generator_batch_multiple, noise)
                for critic_step in range(optimizer.critic_steps):
                    number = state.step * optimizer.critic_steps + critic_step
                    images, labels = batches.batch(number, noise)
                    discriminator_loss = discriminator_step(state, images, labels, noise)
                state.step += 1
                state.update_average(training.ema_decay)

                finished = state.step == training.total_steps
                stopping = stop_requested()
                if due(state.step, training.log_every) or finished or stopping:
                    losses = {
                        "discriminator loss": float(discriminator_loss),
                        "generator loss": float(generator_loss),
                    }
                    check_losses(losses, state.step, saved)
                    rate = state.generator_optimizer.param_groups[0]["lr"]
                    log.losses(state.step, float(discriminator_loss), float(generator_loss), rate)
                if due(state.step, training.sample_every) or finished:
                    log.samples(state.step, state.finish_average(), num_classes)
                if due(state.step, training.save_every) or finished or stopping:
                    _refuse_bad_weights(state, saved)
                    saved = write_checkpoint(run_dir, state, config, facts, code_version)
                if stopping and not finished:
                    log.say(f"stopped at step {state.step}; saved {saved}; the same command goes on from there")
                    raise KeyboardInterrupt
    assert saved is not None
    return saved


def due(step: int, every: int) -> bool:
    """Whether something that happens `every` so many steps happens now."""
    return step % every == 0


def _headline(config: RunConfig, data: ImageData, state: TrainState, device: torch.device, run_dir: Path) -> str:
    precision = str(state.precision).removeprefix("torch.")
    goes_on = f", going on from step {state.step}" if state.step else ""
    return (
        f"{run_dir}: {len(data):,} images of {len(data.class_names)} classes at {config.data.image_size} pixels, "
        f"batch {config.training.batch_size}, {precision} on {device.type}{goes_on}"
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
    if checkpoint.data["sha256"] != facts["sha256"]:
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


def _refuse_bad_weights(state: TrainState, saved: Path | None) -> None:
    for kind in ("generator", "discriminator"):
        name = first_bad_parameter(getattr(state, kind))
        if name:
            check_losses({f"{kind} weight {name}": float("nan")}, state.step, saved)


@contextlib.contextmanager
def _exclusive(run_dir: Path) -> Iterator[None]:
    """Hold the folder's lock; the system drops it when the process dies, however it dies."""
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
        remove_partial(run_dir)
        yield


@contextlib.contextmanager
def _stop_requests() -> Iterator[Any]:
    """Turn Ctrl-C and SIGTERM into a question that the loop asks between steps; a second one acts at once."""
    requested = False

    def on_signal(number: int, frame: object) -> None:
        nonlocal requested
        if requested:
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
