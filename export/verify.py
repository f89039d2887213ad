"""Proof that the exported file is the function that was trained: three forms, compared image by image."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn

from export.errors import VerificationError
from handlers.latents import draw_latents
from handlers.session import import_onnxruntime

BATCH_SIZES = (1, 2, 7, 64)
SEED = 0
# Largest differences of a value in [-1, 1]. One grey level is 7.8e-3.
FOLD_ATOL = 1e-5  # the same float32 arithmetic on equal weights
ONNX_RUNTIME_ATOL = 1e-4  # float32 sums in another order

Images = NDArray[np.float32]
Draw = Callable[[NDArray[np.float32], NDArray[np.int64]], Images]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Verification:
    """What was compared and the largest differences found."""

    num_images: int
    batch_sizes: tuple[int, ...]
    fold_max_abs: float
    onnx_runtime_max_abs: float
    onnx_runtime_version: str


def verify(
    unfolded: nn.Module, folded: nn.Module, model: onnx.ModelProto, latent_dim: int, num_classes: int
) -> Verification:
    """Compare un-folded PyTorch, folded PyTorch and ONNX Runtime (CPU) at every batch size, over all classes.

    Raises VerificationError above FOLD_ATOL or ONNX_RUNTIME_ATOL, or where a value is not finite.
    """
    onnx_runtime, version = _onnx_runtime(model)
    fold_difference = onnx_difference = 0.0
    count = 0
    for z, labels in _inputs(latent_dim, num_classes):
        reference = _in_torch(unfolded)(z, labels)
        fold_difference = max(fold_difference, _difference(_in_torch(folded)(z, labels), reference, "folded PyTorch"))
        onnx_difference = max(onnx_difference, _difference(onnx_runtime(z, labels), reference, "ONNX Runtime"))
        count += len(z)
    _require(fold_difference, FOLD_ATOL, "folded PyTorch")
    _require(onnx_difference, ONNX_RUNTIME_ATOL, "ONNX Runtime")
    return Verification(
        num_images=count,
        batch_sizes=BATCH_SIZES,
        fold_max_abs=fold_difference,
        onnx_runtime_max_abs=onnx_difference,
        onnx_runtime_version=version,
    )


def _inputs(latent_dim: int, num_classes: int) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64]]]:
    """Batches of each size, as many as it takes to meet every class at that size."""
    first = 0
    for size in BATCH_SIZES:
        for start in range(0, num_classes, size):
            labels = np.arange(start, start + size, dtype=np.int64) % num_classes
            yield draw_latents(SEED, range(first, first + size), latent_dim), labels
            first += size


def _in_torch(network: nn.Module) -> Draw:
    def draw(z: NDArray[np.float32], labels: NDArray[np.int64]) -> Images:
        with torch.no_grad():
            images: Images = network(torch.from_numpy(z), torch.from_numpy(labels)).numpy()
        return images

    return draw


def _onnx_runtime(model: onnx.ModelProto) -> tuple[Draw, str]:
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session: Any = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def draw(z: NDArray[np.float32], labels: NDArray[np.int64]) -> Images:
        images: Images = session.run(["image"], {"z": z, "label": labels})[0]
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
