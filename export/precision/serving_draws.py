"""What a generator is asked for when it serves: latents of its own distribution, the classes in equal numbers."""

from __future__ import annotations

import dataclasses
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


def serving_draws(metadata: GeneratorMetadata, *, seed: int, count: int, batch: int) -> Iterator[Draw]:
    """Images 0 to `count` − 1 of `seed` as a server draws them where a request names no truncation, `batch` at a time.

    Every class comes equally often, give or take one; of more classes than images, `count` evenly spaced ones come
    once. The last batch may be smaller.
    """
    labels = _balanced_labels(count, metadata.num_classes) if metadata.num_classes else None
    for start in range(0, count, batch):
        indices = range(start, min(start + batch, count))
        z = draw_latents(seed, indices, metadata.latent_dim, metadata.default_truncation, metadata.latent_distribution)
        yield Draw(z=z, labels=None if labels is None else labels[indices.start : indices.stop])


def _balanced_labels(count: int, num_classes: int) -> NDArray[np.int64]:
    if num_classes <= count:
        return np.arange(count, dtype=np.int64) % num_classes
    return np.linspace(0, num_classes - 1, count).astype(np.int64)
