"""Proof that every form of a generator is the function that was trained, image by image."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn

from export.errors import VerificationError
from handlers.latents import draw_latents
from handlers.session import import_onnxruntime, to_uint8
from sngan_train.models import Generator

BATCH_SIZES = (1, 2, 7, 64)
LEAST_IMAGES = 256
SEED = 0
# Largest differences of a value in [-1, 1]. One grey level is 7.8e-3.
FOLD_ATOL = 1e-5  # the same float32 arithmetic on equal weights
ONNX_RUNTIME_ATOL = 1e-4  # float32 sums in another order

Images = NDArray[np.float32]
Levels = NDArray[np.uint8] | None
Labels = NDArray[np.int64] | None
# Latents and labels → images, and the same as grey levels where the form gives them itself.
Draw = Callable[[NDArray[np.float32], Labels], tuple[Images, Levels]]


@dataclasses.dataclass(frozen=True, slots=True)
class Batch:
    """Latents (n, latent_dim), labels (n,) or None, and the un-folded network's images of them."""

    z: NDArray[np.float32]
    labels: Labels
    images: Images


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Parity:
    """How far the images of one form are from the un-folded network's, in values of [-1, 1].

    Attributes:
        max_abs, mean_abs, p999_abs: of all values; the last is exceeded by one value in a thousand.
        alone_max_abs: between images drawn alone and the same in a batch, of this form.
    """

    max_abs: float
    mean_abs: float
    p999_abs: float
    alone_max_abs: float


@torch.no_grad()
def reference_batches(unfolded: Generator, num_classes: int) -> list[Batch]:
    """One batch of each of BATCH_SIZES, then more of the last, until LEAST_IMAGES and every class are met.

    Image i of all has the latents (SEED, i), of the generator's own distribution, and class i modulo the classes.
    `num_classes` does not count for an unconditional generator.

    Raises VerificationError where a value is not finite.
    """
    draw = in_torch(unfolded)
    batches = []
    for indices in _indices(max(LEAST_IMAGES, num_classes if unfolded.conditional else 0)):
        z = draw_latents(SEED, indices, unfolded.latent_dim, distribution=unfolded.latent_distribution)
        labels = np.array(indices, dtype=np.int64) % num_classes if unfolded.conditional else None
        images, _ = draw(z, labels)
        _require_finite(images, "un-folded PyTorch")
        batches.append(Batch(z, labels, images))
    return batches


def _indices(least: int) -> Iterator[range]:
    first = 0
    for size in itertools.chain(BATCH_SIZES, itertools.repeat(BATCH_SIZES[-1])):
        if first >= least and size == BATCH_SIZES[-1]:
            return
        yield range(first, first + size)
        first += size


def parity(draw: Draw, batches: list[Batch], what: str, tolerance: float | None) -> Parity:
    """Compare a form with the un-folded network on every batch.

    Args:
        draw: the form.
        batches: from `reference_batches`.
        what: the form's name, for messages.
        tolerance: that no value may exceed; None for a form of lower precision, whose gate judges it.

    Raises:
        VerificationError: another shape, a value that is not finite, a value above the tolerance, other bytes the
            second time, an image that depends on its batch by more than the tolerance, or grey levels other than the
            image's own.
    """
    largest = _Largest(sum(batch.images.size for batch in batches) // 1000 + 1)
    total = 0.0
    for batch in batches:
        images, levels = draw(batch.z, batch.labels)
        if images.shape != batch.images.shape:
            raise VerificationError(f"{what} gives images of shape {images.shape}, not {batch.images.shape}")
        _require_finite(images, what)
        if levels is not None and not np.array_equal(levels, to_uint8(images)):
            raise VerificationError(f"{what}: image_u8 is not what `image` rounds to; nothing was written")
        difference = np.abs(images - batch.images)
        total += float(difference.sum(dtype=np.float64))
        largest.add(difference)
    values = largest.descending()
    found = Parity(
        max_abs=float(values[0]),
        mean_abs=total / sum(batch.images.size for batch in batches),
        p999_abs=float(values[-1]),
        alone_max_abs=_alone(draw, batches[-1], what),
    )
    if tolerance is not None:
        _require(found.max_abs, tolerance, f"{what} differs from the un-folded generator")
        _require(found.alone_max_abs, tolerance, f"{what}: an image alone differs from the same image in a batch")
    return found


def _alone(draw: Draw, batch: Batch, what: str) -> float:
    """Largest difference between images of `batch` and the same ones drawn alone; it is drawn twice on the way."""
    together, _ = draw(batch.z, batch.labels)
    again, _ = draw(batch.z, batch.labels)
    if together.tobytes() != again.tobytes():
        raise VerificationError(f"{what} gives other bytes for the same latents the second time; nothing was written")
    difference = 0.0
    for index in (0, len(together) // 2, len(together) - 1):
        one = slice(index, index + 1)
        image, _ = draw(batch.z[one], None if batch.labels is None else batch.labels[one])
        difference = max(difference, float(np.abs(image - together[one]).max()))
    return difference


class _Largest:
    """The `count` largest of many values, without keeping the others."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._values = np.empty(0, np.float32)

    def add(self, values: NDArray[np.float32]) -> None:
        joined = np.concatenate([self._values, values.ravel()])
        if joined.size > self._count:
            joined = np.partition(joined, joined.size - self._count)[-self._count :]
        self._values = joined

    def descending(self) -> NDArray[np.float32]:
        return np.sort(self._values)[::-1]


def in_torch(network: nn.Module) -> Draw:
    """A network in evaluation mode, on the CPU."""

    def draw(z: NDArray[np.float32], labels: Labels) -> tuple[Images, Levels]:
        with torch.no_grad():
            images: Images = network(*(torch.from_numpy(given) for given in (z, labels) if given is not None)).numpy()
        return images, None

    return draw


def images_of(draw: Draw) -> Callable[[NDArray[np.float32], Labels], Images]:
    """The images of `draw` without their levels."""
    return lambda z, labels: draw(z, labels)[0]


def in_onnx_runtime(model: onnx.ModelProto) -> Draw:
    """A graph in ONNX Runtime's CPU provider, whole batches at once; raises VerificationError if it does not load."""
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        session: Any = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime's exception classes share no public base
        reason = str(error).strip().partition("\n")[0]
        raise VerificationError(f"ONNX Runtime does not load the graph ({reason}); nothing was written") from error
    names = [output.name for output in session.get_outputs()]

    def draw(z: NDArray[np.float32], labels: Labels) -> tuple[Images, Levels]:
        feed: Mapping[str, Any] = {"z": z} if labels is None else {"z": z, "label": labels}
        found = dict(zip(names, session.run(names, feed), strict=True))
        return found["image"], found.get("image_u8")

    return draw


def _require_finite(images: Images, what: str) -> None:
    if not np.isfinite(images).all():
        raise VerificationError(f"{what}: the generator gives values that are not finite; its weights are damaged")


def _require(difference: float, tolerance: float, what: str) -> None:
    if not difference <= tolerance:
        raise VerificationError(f"{what} by up to {difference:.2e}, above {tolerance:.0e}; nothing was written")
