"""Images to be measured: of a run's checkpoint through PyTorch, of a generator file through ONNX Runtime.

Image i follows from (seed, i): its latent is that of every other part of the project, its class is i modulo the number
of classes, so that every class has its share. Neither depends on how many are drawn at a time. Both ways give the same
grey levels but for the last bits of float32, which move a value across a rounding boundary now and then.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from handlers.latents import draw_latents
from handlers.session import GeneratorSession, to_uint8
from sngan_train.checkpoint import Checkpoint
from sngan_train.models import Generator

WEIGHTS = ("ema", "raw")


class ImageDrawer(Protocol):
    """Something that draws images."""

    num_classes: int  # 0 is unconditional
    step: int
    image_size: int
    facts: dict[str, Any]  # what a record says of the generator

    def draw(self, z: NDArray[np.float32], labels: NDArray[np.int64] | None) -> NDArray[np.uint8]:
        """(n, latent_dim) and (n,) → (n, S, S, C)."""
        ...

    @property
    def latents(self) -> tuple[int, str]:
        """Dimension and distribution."""
        ...


def labels_of(indices: range, num_classes: int, only_class: int | None = None) -> NDArray[np.int64] | None:
    """The classes of the images `indices`, int64 (n,): i mod K, or one for all; None if there are none."""
    if num_classes == 0:
        return None
    if only_class is not None:
        return np.full(len(indices), only_class, dtype=np.int64)
    return np.asarray(indices, dtype=np.int64) % num_classes


def draw_images(
    drawer: ImageDrawer, seed: int, indices: range, only_class: int | None = None
) -> tuple[Tensor, NDArray[np.int64] | None]:
    """Images uint8 (n, C, S, S) and their labels."""
    latent_dim, distribution = drawer.latents
    labels = labels_of(indices, drawer.num_classes, only_class)
    z = draw_latents(seed, indices, latent_dim, distribution=distribution)
    return torch.from_numpy(drawer.draw(z, labels)).permute(0, 3, 1, 2), labels


class NetworkDrawer:
    """A generator in PyTorch, in float32."""

    def __init__(self, generator: Generator, num_classes: int, *, image_size: int, step: int, facts: dict[str, Any]):
        """`num_classes` is the data's; a generator that asks for no class counts as unconditional."""
        self._generator = generator
        self._device = next(generator.parameters()).device
        self.num_classes = num_classes if generator.conditional else 0
        self.image_size = image_size
        self.step = step
        self.facts = {"kind": "run", "runtime": f"torch {torch.__version__}", **facts}

    @classmethod
    def of_checkpoint(cls, checkpoint: Checkpoint, weights: str, device: torch.device) -> NetworkDrawer:
        """The averaged ("ema") or the trained ("raw") generator, un-folded."""
        generator = checkpoint.load_generator_ema() if weights == "ema" else checkpoint.load_generator()
        return cls(
            generator.to(device),
            len(checkpoint.class_names),
            image_size=checkpoint.config.data.image_size,
            step=checkpoint.step,
            facts={
                "preset": checkpoint.config.preset,
                "weights": weights,
                "step": checkpoint.step,
                "checkpoint_meta_sha256": checkpoint.meta_sha256,
            },
        )

    @property
    def latents(self) -> tuple[int, str]:
        """Dimension and distribution."""
        return self._generator.latent_dim, self._generator.latent_distribution

    @torch.no_grad()
    def draw(self, z: NDArray[np.float32], labels: NDArray[np.int64] | None) -> NDArray[np.uint8]:
        """(n, latent_dim) and (n,) → (n, S, S, C)."""
        given = [torch.from_numpy(value).to(self._device) for value in (z, labels) if value is not None]
        return to_uint8(self._generator(*given).float().cpu().numpy())


class FileDrawer:
    """A generator.onnx in ONNX Runtime."""

    def __init__(self, path: Path, provider: str = "auto"):
        """Raises handlers.errors.GeneratorFileError or ProviderError."""
        self._session = GeneratorSession(path, provider=provider)
        metadata = self._session.metadata
        self.num_classes = metadata.num_classes
        self.image_size = metadata.height
        self.step = int(metadata.training.get("step", 0))
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        self.facts: dict[str, Any] = {
            "kind": "onnx",
            "runtime": f"onnxruntime, {self._session.provider} provider",
            "preset": metadata.name,
            "weights": "ema",
            "step": self.step,
            "precision": metadata.precision,
            "file_sha256": sha256,
            "checkpoint_meta_sha256": metadata.provenance.get("checkpoint_meta_sha256"),
        }

    @property
    def metadata(self) -> Any:
        """The file's own `GeneratorMetadata`."""
        return self._session.metadata

    @property
    def latents(self) -> tuple[int, str]:
        """Dimension and distribution."""
        return self.metadata.latent_dim, self.metadata.latent_distribution

    def draw(self, z: NDArray[np.float32], labels: NDArray[np.int64] | None) -> NDArray[np.uint8]:
        """(n, latent_dim) and (n,) → (n, S, S, C)."""
        return to_uint8(self._session.generate(z, labels))
