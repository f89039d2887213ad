"""What a generator is asked for when it serves: latents of its own distribution, the classes in equal numbers."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handlers.latents import draw_latents
from handlers.metadata import GeneratorMetadata

# Each purpose draws its own latents, so that nothing is judged by what it was made from. 0 is the parity check's.
CALIBRATION_SEED = 1
SENSITIVITY_SEED = 2
GATE_SEED = 3
PROBE_SEED = 4


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Draw:
    """One batch of requests.

    Attributes:
        z: float32 (n, latent_dim).
        labels: int64 (n,), or None for a model without classes.
    """

    z: NDArray[np.float32]
    labels: NDArray[np.int64] | None

    @property
    def feed(self) -> dict[str, Any]:
        """The inputs of an ONNX Runtime session."""
        return {"z": self.z} if self.labels is None else {"z": self.z, "label": self.labels}


def serving_draws(metadata: GeneratorMetadata, *, seed: int, images: range, batch: int) -> Iterator[Draw]:
    """`images` of `seed` as a server draws them where a request names no truncation, `batch` at a time.

    Image i is of the same class whatever else is drawn. Of images that follow one another every class comes equally
    often, give or take one; fewer images than classes are of different classes, spread over all. The last batch may be
    smaller.
    """
    num_classes = metadata.num_classes
    stride = _stride(num_classes)
    for start in range(images.start, images.stop, batch):
        indices = range(start, min(start + batch, images.stop))
        z = draw_latents(seed, indices, metadata.latent_dim, metadata.default_truncation, metadata.latent_distribution)
        labels = np.array(indices, dtype=np.int64) * stride % num_classes if num_classes else None
        yield Draw(z=z, labels=labels)


def _stride(num_classes: int) -> int:
    """Steps of this size meet each class before any again, and the first are far apart already (the golden section)."""
    stride = round(num_classes * (math.sqrt(5.0) - 1.0) / 2.0)
    while math.gcd(stride, num_classes) > 1:
        stride += 1
    return stride
