"""Images that are read from the disk and decoded while training goes on."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from handlers.session import usable_cores
from sngan_train.config import DataConfig
from sngan_train.containers import Container
from sngan_train.data import CPU, to_device
from sngan_train.decoding import decode

# More than there are cores, since some of them wait for the disk; Pillow decodes without the interpreter's lock.
WORKERS = min(32, usable_cores() + 4)

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False, weakref_slot=True)
class StreamedImages:
    """An `ImageSource` that holds names alone; a batch is decoded when it is fetched, or before if it was expected.

    Memory: the pixels of the batches that were last expected, and the file that each worker is at.
    The images are those that `ImageData` would hold, bit for bit: both come from `decode`.

    Attributes:
        container: where the files are; it has random access.
        names: one file an image.
        labels: int64 (N,), indices into `class_names`.
        class_names: one a class.
        origin: what is read, in words that a model card can repeat.
        config: the size and channels of the images.
        files_sha256: `hash_files` of the names.
        device: where batches are given.
    """

    container: Container
    names: tuple[str, ...]
    labels: Tensor
    class_names: tuple[str, ...]
    origin: str
    config: DataConfig
    files_sha256: str
    device: torch.device = CPU
    _pool: ThreadPoolExecutor = dataclasses.field(
        init=False, repr=False, default_factory=lambda: ThreadPoolExecutor(WORKERS, "decode")
    )
    _pending: dict[int, Future[NDArray[np.uint8]]] = dataclasses.field(init=False, repr=False, default_factory=dict)

    def __len__(self) -> int:
        return len(self.names)

    def to(self, device: torch.device) -> StreamedImages:
        """Give batches on `device` from now on."""
        return dataclasses.replace(self, device=device)

    def facts(self) -> dict[str, Any]:
        """Names, counts, and `hash_files`: it does not notice other pixels in a file of the same name and size."""
        return {
            "origin": self.origin,
            "num_images": len(self),
            "class_names": list(self.class_names),
            "sha256": self.files_sha256,
            "files_sha256": self.files_sha256,
        }

    def expect(self, batches: Iterator[Tensor]) -> None:
        """Begin to decode what will be fetched; give up what was expected before and is not any more."""
        wanted = torch.cat(list(batches)).tolist()
        for index in self._pending.keys() - set(wanted):
            self._pending.pop(index).cancel()
        for index in wanted:
            if index not in self._pending:
                self._pending[index] = self._submit(index)

    def fetch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Images uint8 (n, C, S, S) and labels int64 (n,); raises DataError with the name of a broken file."""
        wanted = indices.tolist()
        futures = [self._pending.pop(index) if index in self._pending else self._submit(index) for index in wanted]
        pixels = np.empty((len(wanted), self.config.channels, self.config.image_size, self.config.image_size), np.uint8)
        try:
            for position, future in enumerate(futures):
                pixels[position] = future.result()
        except BaseException:
            for future in (*futures, *self._pending.values()):
                future.cancel()
            self._pending.clear()
            raise
        return to_device(torch.from_numpy(pixels), self.device), to_device(self.labels[indices], self.device)

    def _submit(self, index: int) -> Future[NDArray[np.uint8]]:
        name = self.names[index]
        read = partial(self.container.read, name)
        return self._pool.submit(decode, read, self.container.where(name), self.config.image_size, self.config.channels)


def hash_files(names_and_sizes: Iterable[tuple[str, int]]) -> str:
    """SHA-256 of the names inside the class folders' parent, and the sizes, of all files in their order.

    It is the same for a copy, and however the files are packed: no times, no place. It notices files that are added,
    removed, renamed, moved to another class or changed in size, and not a change that keeps the size.
    """
    digest = hashlib.sha256(b"files\n")
    for name, size in names_and_sizes:
        digest.update(f"{size} {name}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def in_parallel(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """`work` of each item, in their order, done in threads; a few items for each worker are under way at a time.

    What `work` raises is raised in its turn, and what was not begun is not done.
    """
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(WORKERS, "decode") as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > 4 * WORKERS:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
