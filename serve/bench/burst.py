"""What a load client is told and what it finds: one contender, one kind of request, so many at once, for a while."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

PERCENTILES = (50, 95, 99)
# No burst is longer, whatever the server does. With MAX_REQUESTS it bounds what a benchmark asks of a machine.
MAX_BURST_S = 90.0
MAX_REQUESTS = 100_000


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """A burst to be made: every connection sends its next request when it has the answer to the last.

    Attributes:
        url: http:// on this machine; POSTs with a JSON body go there.
        images: asked for in each request, by the field `n`.
        classes: of the model; request number i asks for class i mod classes. 0 leaves the field out.
        concurrency: connections, each with one request under way.
        seconds: no request is begun later.
        first_seed: of the first request; each takes the next, so that no two are the same.
    """

    url: str
    images: int
    classes: int
    concurrency: int
    seconds: float
    first_seed: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Burst:
    """What came of it.

    Attributes:
        requests: that were answered with a PNG.
        images: in them.
        seconds: from the first request to the last answer.
        latency_ms: by percentile, of good answers.
        errors: how many requests had none, by what came instead.
        client_cpu_s: processor time that the client itself took.
    """

    requests: int
    images: int
    seconds: float
    latency_ms: Mapping[int, float]
    errors: Mapping[str, int]
    client_cpu_s: float

    @property
    def images_per_second(self) -> float:
        """0 if nothing was answered."""
        return self.images / self.seconds if self.seconds > 0 else 0.0


class Client(Protocol):
    """Makes bursts. `name` is printed with the figures."""

    name: str

    def __call__(self, load: Load) -> Burst:
        """Make the burst and wait for its end."""


def percentiles(latencies_s: Sequence[float]) -> dict[int, float]:
    """Milliseconds by percentile; NaN of nothing."""
    if not latencies_s:
        return dict.fromkeys(PERCENTILES, float("nan"))
    found = np.percentile(np.asarray(latencies_s), PERCENTILES) * 1000
    return dict(zip(PERCENTILES, map(float, found), strict=True))
