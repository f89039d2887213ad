"""The random draws of one update, the same however many processes share the update."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Noise:
    """Draws for a whole update; each process keeps the rows that are its own.

    Every process draws everything, from an equally seeded generator, and takes its share: rows
    [rank · n / world_size, (rank + 1) · n / world_size). So two processes see what one would, and none has to send
    anything. The number of rows must be a multiple of `world_size`.
    """

    generator: torch.Generator
    rank: int = 0
    world_size: int = 1

    def share(self, rows: Tensor) -> Tensor:
        """This process's part of `rows` (N, ...)."""
        if self.world_size == 1:
            return rows
        count = len(rows) // self.world_size
        assert count * self.world_size == len(rows)
        return rows[self.rank * count : (self.rank + 1) * count]

    def normal(self, *shape: int) -> Tensor:
        """This process's rows of N(0, 1), float32, where the whole update's have `shape`."""
        return self.share(torch.randn(shape, generator=self.generator, device=self.generator.device))

    def uniform(self, *shape: int) -> Tensor:
        """This process's rows of U(0, 1), float32, where the whole update's have `shape`."""
        return self.share(torch.rand(shape, generator=self.generator, device=self.generator.device))

    def integers(self, high: int, count: int) -> Tensor:
        """This process's rows of uniform integers 0 ... high - 1, int64, where the whole update has `count`."""
        return self.share(torch.randint(high, (count,), generator=self.generator, device=self.generator.device))
