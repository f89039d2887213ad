"""What a run tells while it goes on: `stats.jsonl` for machines, grids for the eye, a line for the terminal."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sngan_train.errors import DivergenceError
from sngan_train.models import Generator
from sngan_train.sampling import sample_grid, write_png

PLAIN_LINE_EVERY_S = 15.0


class RunLog:
    """The only part of the package that prints; all of it to stderr. Use as a context."""

    def __init__(
        self, run_dir: Path, *, start_step: int, total_steps: int, images_per_step: int, quiet: bool = False
    ) -> None:
        self._run_dir = run_dir
        self._total_steps = total_steps
        self._images_per_step = images_per_step
        self._last_step, self._last_time = start_step, time.monotonic()
        self._last_plain_line = 0.0
        self._stats = run_dir / "stats.jsonl"
        _drop_records_after(self._stats, start_step)
        self._progress = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[numbers]}"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=Console(stderr=True),
            disable=quiet or not sys.stderr.isatty(),
        )
        self._quiet = quiet
        self._task = self._progress.add_task("training", total=total_steps, completed=start_step, numbers="")

    def __enter__(self) -> RunLog:
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()

    def say(self, text: str) -> None:
        """A line of talk, above the progress bar."""
        if not self._quiet:
            self._progress.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def losses(self, step: int, discriminator_loss: float, generator_loss: float, learning_rate: float) -> None:
        """Record the losses of `step`, and the rate since the last record."""
        now = time.monotonic()
        rate = (step - self._last_step) * self._images_per_step / max(now - self._last_time, 1e-9)
        self._last_step, self._last_time = step, now
        record = {
            "step": step,
            "discriminator_loss": discriminator_loss,
            "generator_loss": generator_loss,
            "generator_learning_rate": learning_rate,
            "real_images_per_s": round(rate, 1),
            "time_unix_s": round(time.time(), 1),
        }
        with self._stats.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        numbers = f"D {discriminator_loss:.3f}  G {generator_loss:+.3f}  {rate:,.0f} images/s"
        self._progress.update(self._task, completed=step, numbers=numbers)
        if self._progress.disable and now - self._last_plain_line > PLAIN_LINE_EVERY_S:
            self._last_plain_line = now
            left_s = (self._total_steps - step) * self._images_per_step / max(rate, 1e-9)
            self.say(f"step {step}/{self._total_steps}  {numbers}  {_duration(left_s)} left")

    def samples(self, step: int, generator: Generator, num_classes: int) -> Path:
        """Draw the fixed latents to `samples/step-….png`; gives the file."""
        path = self._run_dir / "samples" / f"step-{step:06d}.png"
        write_png(sample_grid(generator, num_classes), path)
        return path


def check_losses(losses: Mapping[str, float], step: int, last_checkpoint: Path | None) -> None:
    """Raise DivergenceError, with what to do, if a loss is no finite number."""
    for name, value in losses.items():
        if value != value or value in (float("inf"), float("-inf")):
            kept = f"the last good checkpoint is {last_checkpoint}" if last_checkpoint else "no checkpoint was written"
            raise DivergenceError(
                f"the {name} became {value} at step {step}; {kept}. "
                "Lower optimizer.generator_learning_rate and discriminator_learning_rate, or train in float32"
            )


def _drop_records_after(path: Path, step: int) -> None:
    """Forget the records of steps that will be done again."""
    if not path.exists():
        return
    kept = [line for line in path.read_text(encoding="utf-8").splitlines() if _step_of(line) <= step]
    partial = path.with_suffix(".partial")
    partial.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
    partial.replace(path)


def _step_of(line: str) -> float:
    """The step of a record; a torn last line counts as one to be dropped."""
    try:
        record: Any = json.loads(line)
        return float(record["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
