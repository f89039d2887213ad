"""The training loop. Running it again on the same folder goes on where it stopped."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import torch

from sngan_train.advice import check_division, warnings_about
from sngan_train.checkpoint import restore, write_checkpoint
from sngan_train.config import RunConfig
from sngan_train.continuation import check_continuation, common_settings, where_to_start
from sngan_train.data import BatchStream, ImageSource
from sngan_train.distributed import Processes
from sngan_train.metrics.during_training import DuringTraining
from sngan_train.metrics.record import MetricRecord
from sngan_train.noise import Noise
from sngan_train.objective import Objective
from sngan_train.run_lock import exclusive
from sngan_train.runlog import RunLog, SilentLog
from sngan_train.runtime import STEP_STREAM, choose_precision, reason_not_to_compile, seeded_generator
from sngan_train.state import TrainState
from sngan_train.steps import discriminator_step, generator_step
from sngan_train.stop_requests import stop_requests
from sngan_train.watch import CollapseWatch, check_losses, check_weights


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

    with exclusive(run_dir, processes), stop_requests(patient=processes.supervised) as stop_requested:
        facts = data.facts()
        processes.require_same(common_settings(config, facts, device, precision))
        state = TrainState.create(config, len(data.class_names), device, precision, processes)
        checkpoint, complaints = where_to_start(run_dir, processes)
        if checkpoint:
            check_continuation(checkpoint, config, facts)
            restore(state, checkpoint)
        processes.require_equal(state.networks, state.step)
        batches = BatchStream(data.to(device), config.data, training.batch_size, training.seed)
        evaluation = DuringTraining(config, data, run_dir, device, processes)
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
                sampling = due(state.step, training.sample_every) or finished
                measuring = due(state.step, training.spectrum_every) or finished
                evaluating = training.evaluate_every > 0 and (due(state.step, training.evaluate_every) or finished)
                saving = due(state.step, training.save_every) or finished or stopping or evaluating
                if sampling or measuring or saving:
                    check_weights(state.step, state.networks, saved)
                if sampling:
                    log.samples(state.step, state.finish_average(), data.class_names)
                if measuring:
                    log.spectrum(state.step, state.networks)
                if saving:
                    processes.require_equal(state.networks, state.step)
                    if processes.is_first:
                        saved = write_checkpoint(run_dir, state, config, facts, code_version)
                    saved = processes.from_first(saved)
                if evaluating and saved:
                    record, best = evaluation.measure(saved)
                    log.metrics(state.step, record.values)
                    log.say(f"step {state.step}: {_scores(record, best)}")
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


def _scores(record: MetricRecord, best: MetricRecord) -> str:
    agreement = record.values.get("class agreement")
    more = f", class agreement {agreement:.3f}" if agreement is not None else ""
    earlier = f"best so far {best.headline_value:.4g} at step {best.step}"
    known = "the best so far" if best.step == record.step else earlier
    return f"{record.headline} {record.headline_value:.4g}{more}; {known}"


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
