"""Proof that the exported file is the function that was trained: three forms, compared image by image."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import nn

from export.errors import VerificationError
from handlers.latents import draw_latents
from handlers.session import import_onnxruntime
from sngan_train.models import Generator

BATCH_SIZES = (1, 2, 7, 64)
SEED = 0
# Largest differences of a value in [-1, 1]. One grey level is 7.8e-3.
FOLD_ATOL = 1e-5  # the same float32 arithmetic on equal weights
ONNX_RUNTIME_ATOL = 1e-4  # float32 sums in another order

Images = NDArray[np.float32]
Labels = NDArray[np.int64] | None
Draw = Callable[[NDArray[np.float32], Labels], Images]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Verification:
    """What was compared and the largest differences found."""

    num_images: int
    batch_sizes: tuple[int, ...]
    fold_max_abs: float
    onnx_runtime_max_abs: float
    onnx_runtime_version: str


def verify(unfolded: Generator, folded: Generator, model: onnx.ModelProto, num_classes: int) -> Verification:
    """Compare un-folded PyTorch, folded PyTorch and ONNX Runtime (CPU) on one batch of every size.

    The largest batch meets every class, or of more classes evenly spaced ones; what distinguishes the classes, the
    tables of the conditional batch norms, must be in the graph bit for bit. So the time does not grow with the
    classes. `num_classes` does not count for an unconditional generator.

    Raises VerificationError above FOLD_ATOL or ONNX_RUNTIME_ATOL, where a value is not finite or a table differs.
    """
    onnx_runtime, version = _onnx_runtime(model)
    fold_difference = onnx_difference = 0.0
    count = 0
    for z, labels in _inputs(unfolded, num_classes):
        reference = _in_torch(unfolded)(z, labels)
        fold_difference = max(fold_difference, _difference(_in_torch(folded)(z, labels), reference, "folded PyTorch"))
        onnx_difference = max(onnx_difference, _difference(onnx_runtime(z, labels), reference, "ONNX Runtime"))
        count += len(z)
    _require(fold_difference, FOLD_ATOL, "folded PyTorch")
    _require(onnx_difference, ONNX_RUNTIME_ATOL, "ONNX Runtime")
    _require_tables(folded, model)
    return Verification(
        num_images=count,
        batch_sizes=BATCH_SIZES,
        fold_max_abs=fold_difference,
        onnx_runtime_max_abs=onnx_difference,
        onnx_runtime_version=version,
    )


def _inputs(generator: Generator, num_classes: int) -> Iterator[tuple[NDArray[np.float32], Labels]]:
    """A batch of each size, with latents of the generator's own distribution."""
    first = 0
    for size in BATCH_SIZES:
        indices = range(first, first + size)
        z = draw_latents(SEED, indices, generator.latent_dim, distribution=generator.latent_distribution)
        yield z, _labels(size, num_classes) if generator.conditional else None
        first += size


def _labels(size: int, num_classes: int) -> NDArray[np.int64]:
    """`size` classes: all of them again and again, or from the first to the last in even steps."""
    if num_classes <= size:
        return np.arange(size, dtype=np.int64) % num_classes
    return np.linspace(0, num_classes - 1, size).astype(np.int64)


def _in_torch(network: nn.Module) -> Draw:
    def draw(z: NDArray[np.float32], labels: Labels) -> Images:
        with torch.no_grad():
            images: Images = network(*(torch.from_numpy(given) for given in (z, labels) if given is not None)).numpy()
        return images

    return draw


def _onnx_runtime(model: onnx.ModelProto) -> tuple[Draw, str]:
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session: Any = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def draw(z: NDArray[np.float32], labels: Labels) -> Images:
        feed = {"z": z} if labels is None else {"z": z, "label": labels}
        images: Images = session.run(["image"], feed)[0]
        return images

    return draw, str(onnxruntime.__version__)


def _difference(images: Images, reference: Images, what: str) -> float:
    if images.shape != reference.shape:
        raise VerificationError(f"{what} gives images of shape {images.shape}, not {reference.shape}")
    if not (np.isfinite(images).all() and np.isfinite(reference).all()):
        raise VerificationError(f"{what}: the generator gives values that are not finite; its weights are damaged")
    return float(np.abs(images - reference).max())


def _require(difference: float, tolerance: float, what: str) -> None:
    if not difference <= tolerance:
        raise VerificationError(
            f"{what} differs from the un-folded generator by up to {difference:.2e}, above {tolerance:.0e}; "
            "nothing was written"
        )


def _require_tables(folded: Generator, model: onnx.ModelProto) -> None:
    """Every table (classes, channels) of the generator is a constant of the graph, bit for bit."""
    constants = {numpy_helper.to_array(constant).tobytes() for constant in model.graph.initializer}
    for name, layer in folded.named_modules():
        if isinstance(layer, nn.Embedding) and layer.weight.detach().numpy().tobytes() not in constants:
            raise VerificationError(f"the graph's table of {name} is not the generator's; nothing was written")
