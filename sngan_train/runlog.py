"""What a run tells while it goes on: a bar for the eye, records for machines, TensorBoard, pictures."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import nn

from sngan_train.animation import sample_files, write_animation
from sngan_train.board import Board, open_board
from sngan_train.curves import write_losses
from sngan_train.models import Generator
from sngan_train.records import append_record, drop_records_after, read_records
from sngan_train.sampling import fixed_images, grid, latent_spread, write_png
from sngan_train.spectrum import network_spectrum
from sngan_train.watch import CollapseWatch

PLAIN_LINE_EVERY_S = 15.0
SPEED_OVER_S = 600.0  # the bar's time left is of the mean speed of so long; slow runs have few records a minute
BAR_NUMBERS = {"discriminator_loss": "D {:.3f}", "generator_loss": "G {:+.3f}"}


class RunLog:
    """The only part of the package that prints; all of it to stderr. Use as a context.

    On entry, what an earlier process told of steps after `start_step` is dropped: they will be done again.
    """

    def __init__(
        self,
        run_dir: Path,
        *,
        start_step: int,
        total_steps: int,
        images_per_step: int,
        watch: CollapseWatch,
        quiet: bool = False,
    ) -> None:
        self._run_dir, self._samples = run_dir, run_dir / "samples"
        self._stats, self._spectrum = run_dir / "stats.jsonl", run_dir / "spectrum.jsonl"
        self._start_step, self._total_steps = start_step, total_steps
        self._images_per_step = images_per_step
        self._watch = watch
        self._quiet = quiet
        self._board: Board | None = None
        self._last_step, self._last_time = start_step, time.monotonic()
        self._last_plain_line = 0.0
        self._progress = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[numbers]}"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=Console(stderr=True),
            speed_estimate_period=SPEED_OVER_S,
            disable=quiet or not sys.stderr.isatty(),
        )
        self._task = self._progress.add_task("training", total=total_steps, completed=start_step, numbers="")

    def __enter__(self) -> RunLog:
        for path in (self._stats, self._spectrum):
            drop_records_after(path, self._start_step)
        for step, path in sample_files(self._samples).items():
            if step > self._start_step:
                path.unlink()
        self._board = open_board(self._run_dir / "tensorboard", self._start_step)
        if self._board is None:
            self.say("no TensorBoard here (`pip install tensorboard` adds it); the run's own files have all of it")
        self._last_time = time.monotonic()
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()
        if self._board:
            self._board.close()

    def say(self, text: str) -> None:
        """A line of talk, above the progress bar."""
        if not self._quiet:
            self._progress.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Record the finite `values` of `step`, and the rate since the last record.

        `discriminator_loss` and `generator_loss` must be among them.
        """
        now = time.monotonic()
        rate = (step - self._last_step) * self._images_per_step / max(now - self._last_time, 1e-9)
        self._last_step, self._last_time = step, now
        values = {**values, "real_images_per_s": round(rate, 1)}
        append_record(self._stats, {"step": step, **values, "time_unix_s": round(time.time(), 1)})
        if self._board:
            self._board.scalars("training", values, step)
        numbers = "  ".join(form.format(values[name]) for name, form in BAR_NUMBERS.items())
        numbers += f"  {rate:,.0f} images/s"
        self._progress.update(self._task, completed=step, numbers=numbers)
        if self._progress.disable and now - self._last_plain_line > PLAIN_LINE_EVERY_S:
            self._last_plain_line = now
            left_s = (self._total_steps - step) * self._images_per_step / max(rate, 1e-9)
            self.say(f"step {step}/{self._total_steps}  {numbers}  {_duration(left_s)} left")
        self._warn(step, self._watch.discriminator_loss(values["discriminator_loss"]))

    def metrics(self, step: int, values: Mapping[str, float | None]) -> None:
        """Record what an evaluation of `step` found; a value that is not finite is null in the record."""
        finite = {name: value for name, value in values.items() if value is not None and math.isfinite(value)}
        append_record(self._stats, {"step": step, "metrics": {name: finite.get(name) for name in values}})
        if self._board:
            self._board.scalars("metrics", finite, step)
            self._board.flush()

    def samples(self, step: int, generator: Generator, class_names: Sequence[str]) -> None:
        """Draw the fixed latents to `samples/step-….png`, and see how much the images of a class differ.

        `class_names` are all of the data's.
        """
        images = fixed_images(generator, len(class_names))
        shown = class_names[: len(images)] if generator.conditional else ()
        picture, spread = grid(images, shown), latent_spread(images, shown)
        write_png(picture, self._samples / f"step-{step:06d}.png")
        append_record(self._stats, {"step": step, "latent_spread": spread})
        if self._board:
            self._board.image("samples/fixed_latents", picture, step)
            self._board.scalars("samples", {"lowest_latent_spread": min(spread.values())}, step)
            self._board.flush()
        self._warn(step, self._watch.latent_spread(spread))

    def spectrum(self, step: int, networks: Mapping[str, nn.Module]) -> None:
        """Record the singular values of every layer of the named `networks`, whose weights are finite."""
        for kind, network in networks.items():
            layers = network_spectrum(network)
            described = {name: layer.to_dict() for name, layer in layers.items()}
            append_record(self._spectrum, {"step": step, "network": kind, "layers": described})
            if self._board:
                for quantity in ("sigma", "effective_rank", "lag"):
                    values = {name: layer[quantity] for name, layer in described.items() if layer[quantity] is not None}
                    self._board.scalars(f"{quantity}/{kind}", values, step)
                for name, layer in layers.items():
                    self._board.unit_histogram(f"squared_singular_values/{kind}/{name}", layer.relative_squares, step)
        if self._board:
            self._board.flush()

    def finish(self) -> None:
        """Draw the run as a whole, of what is on the disk: `progress.webp` and `losses.png`."""
        written = (
            write_animation(self._samples, self._run_dir / "progress.webp"),
            write_losses(read_records(self._stats), self._run_dir / "losses.png"),
        )
        if any(written):
            self.say(f"to look at: {', '.join(str(path) for path in written if path)}")

    def _warn(self, step: int, warning: str | None) -> None:
        if warning:
            append_record(self._stats, {"step": step, "warning": warning})
            self.say(f"warning at step {step}: {warning}")


class SilentLog:
    """The log of every process but the first: the calls of RunLog, and nothing done."""

    def __enter__(self) -> SilentLog:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def say(self, text: str) -> None:
        """Nothing."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Nothing."""

    def metrics(self, step: int, values: Mapping[str, float | None]) -> None:
        """Nothing."""

    def samples(self, step: int, generator: Generator, class_names: Sequence[str]) -> None:
        """Nothing."""

    def spectrum(self, step: int, networks: Mapping[str, nn.Module]) -> None:
        """Nothing."""

    def finish(self) -> None:
        """Nothing."""


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
