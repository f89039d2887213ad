"""Fair timing on a machine that is shared: contenders take turns, and times are compared within a round.

What slows the machine for a while slows all contenders of that round, so the ratio of two times of one round stays. The
order turns round from one round to the next, so that none always follows the same other.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import torch

Clock = Callable[[], float]  # seconds


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """Median and quartiles of at least two values."""

    lower: float
    median: float
    upper: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Quartiles by linear interpolation between the values."""
        lower, median, upper = statistics.quantiles(values, n=4, method="inclusive")
        return cls(lower=lower, median=median, upper=upper, count=len(values))


@dataclasses.dataclass(frozen=True, slots=True)
class Timings:
    """Seconds of every contender, one a round."""

    seconds: Mapping[str, Sequence[float]]

    def spread(self, name: str) -> Spread:
        """Of the contender's own seconds."""
        return Spread.of(self.seconds[name])

    def ratio(self, numerator: str, denominator: str) -> Spread:
        """Of one contender's seconds to the other's, each pair from one round."""
        pairs = zip(self.seconds[numerator], self.seconds[denominator], strict=True)
        return Spread.of([above / below for above, below in pairs])


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class WarmUp:
    """A contender's calls before the measurement."""

    first_s: float  # with compilation, and what is allocated or chosen on the first call
    next_s: float


def warm_up(contender: Callable[[], object], clock: Clock) -> WarmUp:
    """Call it twice."""
    marks = [clock()]
    for _ in range(2):
        contender()
        marks.append(clock())
    return WarmUp(first_s=marks[1] - marks[0], next_s=marks[2] - marks[1])


def take_turns(
    contenders: Mapping[str, Callable[[], object]],
    rounds: int,
    clock: Clock,
    after_round: Callable[[int], object] = lambda number: None,
) -> Timings:
    """Time each contender once a round; `after_round` is told how many rounds are done."""
    assert rounds >= 2
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    names = list(contenders)
    for number in range(rounds):
        for name in names if number % 2 == 0 else reversed(names):
            started = clock()
            contenders[name]()
            seconds[name].append(clock() - started)
        after_round(number + 1)
    return Timings(seconds)


def device_clock(device: torch.device) -> Clock:
    """Seconds, read when `device` has done all it was given."""

    def read() -> float:
        if device.type == "cuda":  # not yet run on a GPU
            torch.cuda.synchronize(device)
        return time.perf_counter()

    return read
