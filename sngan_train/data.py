"""A data set in memory, and the endless stream of batches that training draws from it."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

import torch
from torch import Tensor

from sngan_train.config import DataConfig
from sngan_train.errors import DataError
from sngan_train.runtime import DATA_ORDER_STREAM, seeded_generator


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ImageData:
    """Labelled images.

    Attributes:
        images: uint8 (N, C, S, S).
        labels: int64 (N,), indices into `class_names`.
        class_names: one a class.
        origin: what was read, in words that a model card can repeat.
    """

    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...]
    origin: str

    def __post_init__(self) -> None:
        if len(self.images) == 0:
            raise DataError(f"{self.origin}: no images")
        counts = torch.bincount(self.labels, minlength=len(self.class_names))
        for name, count in zip(self.class_names, counts.tolist(), strict=True):
            if count == 0:
                raise DataError(f"{self.origin}: class {name!r} has no images")

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device) -> ImageData:
        """The same images on `device`, where batches are then put together without the host."""
        return dataclasses.replace(self, images=self.images.to(device), labels=self.labels.to(device))

    def facts(self) -> dict[str, Any]:
        """What a checkpoint remembers: names, counts, and a hash that tells whether the data is still the same."""
        digest = hashlib.sha256()
        for tensor in (self.images, self.labels):
            digest.update(tensor.contiguous().cpu().numpy().tobytes())
        digest.update("\n".join(self.class_names).encode())
        return {
            "origin": self.origin,
            "num_images": len(self),
            "class_names": list(self.class_names),
            "sha256": digest.hexdigest(),
        }


class BatchStream:
    """Real batches by number: each epoch in an order of its own, batches running on from epoch to epoch.

    Batch k is the same whenever it is asked for: its images follow from (seed, k), its noise from the generator
    that the caller passes.
    """

    def __init__(self, data: ImageData, config: DataConfig, batch_size: int, seed: int) -> None:
        self._data = data
        self._config = config
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = -1
        self._order = torch.empty(0, dtype=torch.int64)

    def _order_of(self, epoch: int) -> Tensor:
        if epoch != self._epoch:
            generator = seeded_generator(self._seed, DATA_ORDER_STREAM, epoch, torch.device("cpu"))
            self._order = torch.randperm(len(self._data), generator=generator)
            self._epoch = epoch
        return self._order

    def indices(self, number: int) -> Tensor:
        """Which images batch `number` holds: int64 (batch_size,)."""
        size = len(self._data)
        parts = []
        position, wanted = number * self._batch_size, self._batch_size
        while wanted:
            epoch, offset = divmod(position, size)
            part = self._order_of(epoch)[offset : offset + wanted]
            parts.append(part)
            position, wanted = position + len(part), wanted - len(part)
        return torch.cat(parts)

    def batch(self, number: int, noise: torch.Generator) -> tuple[Tensor, Tensor]:
        """Images float32 (N, C, S, S) in [-1, 1) and labels int64 (N,), on the data's device.

        Grey level k becomes k/128 - 1 plus, if dequantised, U(0, 1/128): the official code's scaling.
        """
        chosen = self.indices(number).to(self._data.images.device)
        images = self._data.images[chosen].float() / 128.0 - 1.0
        if self._config.dequantize:
            images += torch.rand(images.shape, generator=noise, device=images.device) / 128.0
        if self._config.flip:
            mirrored = torch.rand(len(images), generator=noise, device=images.device) < 0.5
            images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
        return images, self._data.labels[chosen]
