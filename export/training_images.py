"""Some of the images that a run learned from, for a probe that names the classes of generated ones."""

from __future__ import annotations

from collections.abc import Callable

import torch

from export.precision.judges import RealImages
from sngan_train.checkpoint import Checkpoint
from sngan_train.errors import TrainError
from sngan_train.metrics.measure import open_subject, real_images

PROBE_IMAGES = 2_000


def training_images(checkpoint: Checkpoint, say: Callable[[str], None]) -> RealImages | None:
    """Up to PROBE_IMAGES images spread evenly over the training set; None, with a word why, if it is not at hand."""
    try:
        subject = open_subject(checkpoint.path, weights="ema", device=torch.device("cpu"))
        source = real_images(subject, "train", None, say)
        count = min(PROBE_IMAGES, len(source))
        images, labels = source.fetch(torch.arange(count) * len(source) // count)
    except TrainError as error:
        say(f"no training images for the comparison of classes ({error})")
        return None
    return RealImages(images=images, labels=labels, origin=source.origin)
