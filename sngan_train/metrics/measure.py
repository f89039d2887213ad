"""From what a user names to a record: open the generator, find the real images, measure, save."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from sngan_train.checkpoint import Checkpoint, open_checkpoint
from sngan_train.config import DataConfig
from sngan_train.data import ImageSource, same_data
from sngan_train.distributed import Processes
from sngan_train.errors import ConfigError, DataError
from sngan_train.metrics.drawing import FileDrawer, ImageDrawer, NetworkDrawer
from sngan_train.metrics.evaluate import Progress, Settings, evaluate
from sngan_train.metrics.extractor import FeatureExtractor
from sngan_train.metrics.record import MetricRecord
from sngan_train.sources import CACHE, load_data, test_split_of

REFERENCE_CACHE = CACHE / "references"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """What is measured.

    Attributes:
        drawer: draws its images.
        data: where its training images came from and their form; None of a file, which does not say.
        image_size, channels: of what it draws.
        trained_on: the facts of the images it learned from, for `same_data`; empty if they are not known.
        folder: where its records are kept: the run, or the file's folder.
    """

    drawer: ImageDrawer
    data: DataConfig | None
    image_size: int
    channels: int
    trained_on: Mapping[str, Any]
    folder: Path


def open_subject(path: Path, *, weights: str, device: torch.device) -> Subject:
    """A run's folder, a checkpoint's folder or a generator.onnx.

    Raises:
        CheckpointError, handlers.errors.GeneratorFileError: it cannot be opened.
        ConfigError: raw weights of a file, which holds the averaged ones alone.
    """
    if path.is_dir():
        return _of_checkpoint(open_checkpoint(path), weights, device)
    if weights != "ema":
        raise ConfigError(f"{path}: an exported file holds the averaged generator alone; leave out --weights {weights}")
    drawer = FileDrawer(path)
    metadata = drawer.metadata
    return Subject(
        drawer=drawer,
        data=None,
        image_size=metadata.height,
        channels=metadata.channels,
        trained_on=metadata.training.get("data", {}),
        folder=path.parent,
    )


def _of_checkpoint(checkpoint: Checkpoint, weights: str, device: torch.device) -> Subject:
    return Subject(
        drawer=NetworkDrawer.of_checkpoint(checkpoint, weights, device),
        data=checkpoint.config.data,
        image_size=checkpoint.config.data.image_size,
        channels=checkpoint.config.data.channels,
        trained_on=checkpoint.data,
        folder=checkpoint.path.parent.parent,
    )


def real_images(subject: Subject, split: str, real: str | None, report: Callable[[str], None]) -> ImageSource:
    """The images to compare with, in the form that the generator draws.

    Args:
        subject: whose.
        split: "train" are those it learned from, "test" those kept from it.
        real: a data source named by the user, or None for the subject's own.
        report: hears of long loads.

    Raises:
        ConfigError: no source is known.
        DataError: it is not the data that the generator learned from, or cannot be read.
    """
    source = real or (subject.data.source if subject.data else None)
    if not source:
        raise ConfigError(
            "an exported file does not say where its training images lie; name them with --real, as in --real digits"
        )
    if split == "test" and real is None:
        source = test_split_of(source)
    form = subject.data or DataConfig(image_size=subject.image_size, channels=subject.channels)
    images = load_data(dataclasses.replace(form, source=source), report)
    if split == "train" and subject.trained_on and not same_data(subject.trained_on, images.facts()):
        raise DataError(
            f"{source}: not the images that the generator learned from (other pixels, size or number); this protocol "
            "compares with those. Name them with --real, or choose --protocol 10k-test"
        )
    return images


def measure(
    subject: Subject,
    images: ImageSource,
    extractor: FeatureExtractor,
    settings: Settings,
    *,
    processes: Processes | None = None,
    progress: Progress = lambda task, done, total: None,
) -> MetricRecord:
    """`evaluate`, after checking that the classes fit."""
    classes = len(images.class_names)
    if subject.drawer.num_classes and classes != subject.drawer.num_classes:
        raise DataError(
            f"the generator has {subject.drawer.num_classes} classes and the real images {classes}; name the right "
            "images with --real"
        )
    return evaluate(subject.drawer, images, extractor, settings, processes=processes, progress=progress)
