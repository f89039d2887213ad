"""One call of `sngan evaluate`: everything it opens, shows and saves."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from sngan_train.config import DataConfig
from sngan_train.distributed import Processes, joined
from sngan_train.errors import ConfigError
from sngan_train.metrics.evaluate import Progress as Tell
from sngan_train.metrics.evaluate import Settings
from sngan_train.metrics.extractor import FeatureExtractor, distance_name, load_extractor
from sngan_train.metrics.frechet import frechet_distance
from sngan_train.metrics.kernel_distance import kernel_distance_of_all
from sngan_train.metrics.measure import REFERENCE_CACHE, measure, open_subject, real_images
from sngan_train.metrics.neighbours import neighbour_metrics
from sngan_train.metrics.protocol import Protocol
from sngan_train.metrics.record import MetricRecord, save_record
from sngan_train.metrics.reference import load_reference
from sngan_train.runtime import choose_device
from sngan_train.sources import load_data, test_split_of

SELF_TEST_SIZE = 32  # pixels
SELF_TEST_IMAGES = 10_000


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """The command's options that do not depend on the subject."""

    protocol: Protocol
    features: str | None = None
    inception_weights: Path | None = None
    seed: int = 0
    device: str = "auto"
    cache: bool = True

    def extractor(self, device: torch.device) -> FeatureExtractor:
        """The network asked for, or the protocol's."""
        name = self.features or self.protocol.extractor
        return load_extractor(name, device, inception_weights=self.inception_weights, report=_say)

    @property
    def cache_folder(self) -> Path | None:
        """Where real features are kept."""
        return REFERENCE_CACHE if self.cache else None


def folder_of(subject: Path) -> Path:
    """Where the records of what the user named are kept."""
    if not subject.is_dir():
        return subject.parent
    return subject.parent.parent if (subject / "meta.json").is_file() else subject


def evaluate_and_save(subject: Path, options: Options, *, weights: str, real: str | None) -> MetricRecord:
    """Measure and append the record to the subject's metrics.jsonl; under torchrun all processes share the work."""
    if weights not in ("ema", "raw"):
        raise ConfigError(f"--weights {weights!r} is not one of ema, raw")
    processes = Processes.of_environment(os.environ)
    device = choose_device(options.device, local_rank=processes.local_rank)
    with joined(processes, device), _progress(quiet=not processes.is_first) as progress:
        opened = open_subject(subject, weights=weights, device=device)
        extractor = options.extractor(device)
        with processes.in_turn():
            images = real_images(opened, options.protocol.real_split, real, _say if processes.is_first else _hush)
        settings = Settings(protocol=options.protocol, seed=options.seed, cache=options.cache_folder)
        record = measure(opened, images, extractor, settings, processes=processes, progress=progress)
        if processes.is_first:
            save_record(opened.folder, record)
        return record


def self_test(options: Options, source: str) -> str:
    """Real training images against real test images: what a perfect generator would get, and what halves get."""
    device = choose_device(options.device)
    extractor = options.extractor(device)
    form = DataConfig(source=source, image_size=SELF_TEST_SIZE)
    train = load_data(form, _say)
    test = load_data(dataclasses.replace(form, source=test_split_of(source)), _say)
    with _progress(quiet=False) as progress:
        sides = {
            name: load_reference(
                images,
                extractor,
                split=name,
                num_images=SELF_TEST_IMAGES,
                cache=options.cache_folder,
                progress=lambda done, total, name=name: progress(f"{name} images", done, total),  # type: ignore[misc]
            )
            for name, images in (("train", train), ("test", test))
        }
    left, right = sides["train"], sides["test"]
    halves = right.features[::2], right.features[1::2]
    neighbours = neighbour_metrics(left.features, right.features)
    rows = [
        (distance_name(extractor.facts), frechet_distance(left.moments.moments(), right.moments.moments()), "small"),
        (distance_name(extractor.facts, kernel=True), kernel_distance_of_all(left.features, right.features), "near 0"),
        ("… of two halves of the test images", kernel_distance_of_all(*halves), "0 within its spread"),
        ("precision", neighbours.precision, "as recall"),
        ("recall", neighbours.recall, "as precision"),
        ("density", neighbours.density, "near 1"),
        ("coverage", neighbours.coverage, "near 1"),
    ]
    if left.probe:
        right_answers = (left.probe.predict(right.features) == right.labels).float().mean().item()
        rows.append(("class agreement of the test images", right_answers, "the most a generator can be asked for"))
    counts = f"{left.moments.count:,} training against {right.moments.count:,} test images of {train.origin}"
    return "\n".join([counts, *(f"{name:38}  {value:10.5f}   expected: {expected}" for name, value, expected in rows)])


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _hush(text: str) -> None:
    pass


@contextlib.contextmanager
def _progress(*, quiet: bool) -> Iterator[Tell]:
    """A bar with count and time left, on a terminal; else a line for each task."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    shown: dict[str, TaskID] = {}
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal, transient=True) as bar:

        def tell(task: str, done: int, total: int) -> None:
            if quiet:
                return
            if task not in shown:
                shown[task] = bar.add_task(task, total=total)
                if not console.is_terminal:
                    _say(f"{task}: {total:,}")
            bar.update(shown[task], completed=done, visible=done < total)

        yield tell
