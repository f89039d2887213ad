"""Labelled images, and the endless stream of batches that training draws from them."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from sngan_train.config import DataConfig
from sngan_train.errors import DataError
from sngan_train.noise import Noise
from sngan_train.runtime import DATA_ORDER_STREAM, seeded_generator

CPU = torch.device("cpu")
READ_AHEAD = 4  # batches that a source which reads from the disk prepares
DEVICE_SHARE = 0.5  # of a GPU's free memory that the images may take; the networks want the rest


class ImageSource(Protocol):
    """What training learns from, in memory or streamed."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """One a class, in the order of the labels."""

    @property
    def origin(self) -> str:
        """What was read, in words that a model card can repeat."""

    @property
    def labels(self) -> Tensor:
        """int64 (N,), indices into `class_names`."""

    def __len__(self) -> int: ...

    def facts(self) -> dict[str, Any]:
        """What a checkpoint remembers: `origin`, `num_images`, `class_names` and hashes for `same_data`."""

    def to(self, device: torch.device) -> ImageSource:
        """The same images, given on `device` from now on."""

    def expect(self, batches: Iterator[Tensor]) -> None:
        """Hear which images will be fetched next: int64 (n,) each, nearest first."""

    def fetch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Images uint8 (n, C, S, S) and labels int64 (n,) of int64 (n,) `indices`, which are on the CPU.

        Raises:
            DataError: an image cannot be read.
        """


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ImageData:
    """Labelled images in memory.

    Attributes:
        images: uint8 (N, C, S, S).
        labels: int64 (N,), indices into `class_names`.
        class_names: one a class.
        origin: what was read, in words that a model card can repeat.
        files_sha256: hash of the files that were read, or "" if there were none.
        device: where batches are given.
    """

    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...]
    origin: str
    files_sha256: str = ""
    device: torch.device = CPU

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
        """Give batches on `device`. All images move there if they fit, so that batches are put together without the
        host; otherwise only the batches do. Not yet run on a GPU.
        """
        home = device
        if device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(device)
            if self.images.nbytes > free * DEVICE_SHARE:
                home = CPU
        return dataclasses.replace(self, images=self.images.to(home), labels=self.labels.to(home), device=device)

    def expect(self, batches: Iterator[Tensor]) -> None:
        """Nothing to prepare."""

    def fetch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Images uint8 (n, C, S, S) and labels int64 (n,)."""
        chosen = indices.to(self.images.device)
        return to_device(self.images[chosen], self.device), to_device(self.labels[chosen], self.device)

    def facts(self) -> dict[str, Any]:
        """Names, counts, and a hash of every pixel and label."""
        digest = hashlib.sha256()
        for tensor in (self.images, self.labels):
            digest.update(tensor.contiguous().cpu().numpy().data)
        digest.update("\n".join(self.class_names).encode())
        return {
            "origin": self.origin,
            "num_images": len(self),
            "class_names": list(self.class_names),
            "sha256": digest.hexdigest(),
            "files_sha256": self.files_sha256,
        }


def same_data(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether two `facts()` are of the same data.

    By the pixels if both sides had them in memory. A streamed side knows its files alone, and gives their hash in the
    pixels' place; then the files decide, so that a run may go on however its images are held.
    """
    files = before.get("files_sha256"), now.get("files_sha256")
    if before["sha256"] == files[0] or now["sha256"] == files[1]:
        return files[0] == files[1]
    return bool(before["sha256"] == now["sha256"])


def to_device(batch: Tensor, device: torch.device) -> Tensor:
    """`batch` on `device`; to a GPU from pinned memory, which does not wait for the copy. Not yet run on a GPU."""
    if device.type == "cuda" and batch.device.type == "cpu":
        return batch.pin_memory().to(device, non_blocking=True)
    return batch.to(device)


class BatchStream:
    """Real batches by number: each epoch in an order of its own, batches running on from epoch to epoch.

    Batch k is the same whenever it is asked for: its images follow from (seed, k), its noise from the draws that the
    caller passes. `batch_size` is that of the whole update, over all processes.
    """

    def __init__(self, data: ImageSource, config: DataConfig, batch_size: int, seed: int) -> None:
        self._data = data
        self._config = config
        self._batch_size = batch_size
        self._seed = seed
        self._orders: dict[int, Tensor] = {}

    def _order_of(self, epoch: int) -> Tensor:
        if epoch not in self._orders:
            generator = seeded_generator(self._seed, DATA_ORDER_STREAM, epoch, CPU)
            # Looking ahead goes from one epoch into the next and back; more than its neighbour no epoch needs.
            self._orders = {known: order for known, order in self._orders.items() if abs(known - epoch) == 1}
            self._orders[epoch] = torch.randperm(len(self._data), generator=generator)
        return self._orders[epoch]

    def indices(self, number: int) -> Tensor:
        """Which images batch `number` holds: int64 (batch_size,), over all processes."""
        size = len(self._data)
        parts = []
        position, wanted = number * self._batch_size, self._batch_size
        while wanted:
            epoch, offset = divmod(position, size)
            part = self._order_of(epoch)[offset : offset + wanted]
            parts.append(part)
            position, wanted = position + len(part), wanted - len(part)
        return torch.cat(parts)

    def batch(self, number: int, noise: Noise) -> tuple[Tensor, Tensor]:
        """This process's images float32 (n, C, S, S) in [-1, 1) and labels int64 (n,), on the data's device.

        Grey level k becomes k/128 - 1 plus, if dequantised, U(0, 1/128): the official code's scaling.

        Raises:
            DataError: an image cannot be read.
        """
        levels, labels = self._data.fetch(noise.share(self.indices(number)))
        self._data.expect(noise.share(self.indices(number + ahead)) for ahead in range(1, READ_AHEAD + 1))
        images = levels.float() / 128.0 - 1.0
        if self._config.dequantize:
            images += noise.uniform(self._batch_size, *images.shape[1:]) / 128.0
        if self._config.flip:
            mirrored = noise.uniform(self._batch_size) < 0.5
            images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
        return images, labels
