"""A few numbers of the images that a generator must draw, small enough to travel inside its file.

At export they are taken from the un-folded PyTorch generator. Wherever the exported file goes, its own images are
compared with them: no checkpoint and no PyTorch is needed there. Per image they are the mean, the standard deviation
and the values at some fixed places; a wrong class table, a changed weight or channels in another order change them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.errors import VerificationError
from handlers.latents import draw_latents
from handlers.metadata import GeneratorMetadata

SEED = 0
# In export_report.json: about 45 kB.
REPORT_IMAGES = 64
REPORT_PLACES = 64
# In the generator file itself, which may be on its own: about 3 kB.
FILE_IMAGES = 16
FILE_PLACES = 16
DECIMALS = 6

# Largest difference of a float32 value in [-1, 1], whatever machine, provider or threads: sums in another order give
# about 1e-6, TF32 on an NVIDIA GPU a few 1e-4; a grey level is 7.8e-3.
FLOAT32_ATOL = 1e-3
# The export's budgets are 40 dB and 35 dB over all values of 1,000 images. Here a few thousand values stand for them,
# or in a lone file a few hundred, hence 3 dB less. A processor that saturates int8 sums falls far below.
PSNR_FLOORS_DB = {"float16": 37.0, "bfloat16": 37.0, "int8": 32.0}
PEAK = 2.0  # from -1 to 1

Images = NDArray[np.float32]
Labels = NDArray[np.int64] | None
Draw = Callable[[NDArray[np.float32], Labels], Images]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Differences:
    """How far images are from a reference.

    Attributes:
        images: how many were compared.
        max_abs: the largest difference of a mean, a deviation or a value.
        psnr_db: 20·log10(2 / root mean square difference of the values); infinite where all are equal.
    """

    images: int
    max_abs: float
    psnr_db: float


def reference_of(
    draw: Draw, metadata: GeneratorMetadata, *, images: int = REPORT_IMAGES, places: int = REPORT_PLACES
) -> dict[str, Any]:
    """What `compare` needs, as JSON: `$defs/reference` of the schema `sngan-generator-1`.

    Latents are truncated as by default they are served: that is what an int8 file is calibrated for.

    Args:
        draw: latents float32 (n, latent_dim) and labels int64 (n,), None without classes → images float32
            (n, channels, height, width) in [-1, 1].
        metadata: of the model that `draw` runs.
        images: how many; the classes are met in turn, or of more classes evenly spaced ones.
        places: values kept of each image, or all where it has fewer.

    Raises:
        VerificationError: an image has another shape than `metadata` says, or a value that is not finite.
    """
    indices = list(range(images))
    labels = spread_labels(images, metadata.num_classes).tolist() if metadata.num_classes else None
    kept = _places(metadata.channels * metadata.height * metadata.width, places)
    drawn = _drawn(draw, metadata, SEED, metadata.default_truncation, indices, labels)
    return {
        "seed": SEED,
        "truncation": metadata.default_truncation,
        "indices": indices,
        "labels": labels,
        "places": kept.tolist(),
        "means": _rounded(drawn.mean(axis=1)),
        "standard_deviations": _rounded(drawn.std(axis=1)),
        "values": _rounded(drawn[:, kept]),
    }


def compare(reference: Mapping[str, Any], draw: Draw, metadata: GeneratorMetadata) -> Differences:
    """The distance of what `draw` draws from what `reference_of` kept.

    Raises VerificationError where the reference does not fit the metadata, or an image has another shape or a value
    that is not finite.
    """
    try:
        places = np.array(reference["places"], dtype=np.int64)
        expected = [np.array(reference[name], dtype=np.float64) for name in ("means", "standard_deviations", "values")]
        indices = list(reference["indices"])
        drawn = _drawn(draw, metadata, reference["seed"], reference["truncation"], indices, reference["labels"])
        found = [drawn.mean(axis=1), drawn.std(axis=1), drawn[:, places]]
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise VerificationError(f"its reference images cannot be used: {error!r}") from error
    if not indices or places.size == 0 or [part.shape for part in found] != [part.shape for part in expected]:
        raise VerificationError("its reference images cannot be used: their numbers do not fit their places")
    mean_square = float(np.square(found[2] - expected[2]).mean())
    return Differences(
        images=len(indices),
        max_abs=max(float(np.abs(a - b).max()) for a, b in zip(found, expected, strict=True)),
        psnr_db=20 * math.log10(PEAK / math.sqrt(mean_square)) if mean_square > 0 else math.inf,
    )


def require_close(differences: Differences, precision: str) -> str:
    """What was found, in words; raises VerificationError, in such words, where it is too much for `precision`.

    `precision` is "float32" or a key of PSNR_FLOORS_DB.
    """
    if precision in PSNR_FLOORS_DB:
        floor = PSNR_FLOORS_DB[precision]
        words = f"{differences.images} images at {differences.psnr_db:.1f} dB of the reference, at least {floor:.0f} dB"
        close = differences.psnr_db >= floor
    else:
        words = (
            f"{differences.images} images at most {differences.max_abs:.1e} off the reference, of {FLOAT32_ATOL:.0e}"
        )
        close = differences.max_abs <= FLOAT32_ATOL
    if not close:
        raise VerificationError(f"draws other images than the trained generator: {words} allowed")
    return words


def spread_labels(count: int, num_classes: int) -> NDArray[np.int64]:
    """`count` classes: all of them again and again, or from the first to the last in even steps."""
    if num_classes <= count:
        return np.arange(count, dtype=np.int64) % num_classes
    return np.linspace(0, num_classes - 1, count).astype(np.int64)


def _drawn(
    draw: Draw,
    metadata: GeneratorMetadata,
    seed: int,
    truncation: float | None,
    indices: list[int],
    labels: list[int] | None,
) -> NDArray[np.float64]:
    """The images of a reference, float64 (n, channels · height · width)."""
    if (labels is not None) != (metadata.num_classes > 0):
        raise ValueError("labels are for a model with classes")
    z = draw_latents(seed, indices, metadata.latent_dim, truncation, metadata.latent_distribution)
    images = draw(z, None if labels is None else np.array(labels, dtype=np.int64))
    shape = (len(indices), metadata.channels, metadata.height, metadata.width)
    if images.shape != shape:
        raise VerificationError(f"draws images of shape {images.shape}, and not {shape}")
    if not np.isfinite(images).all():
        raise VerificationError("draws values that are not finite")
    return images.astype(np.float64).reshape(len(indices), -1)


def _places(size: int, count: int) -> NDArray[np.int64]:
    """Up to `count` different places of `size`, in order: steps of the golden ratio, which favour no row or column."""
    steps = np.arange(1, count + 1) * ((math.sqrt(5) - 1) / 2)
    return np.unique(np.floor((steps % 1.0) * size).astype(np.int64))


def _rounded(values: NDArray[np.float64]) -> Any:
    return np.round(values, DECIMALS).tolist()
