"""The measuring of `sngan bench infer`: contenders take turns in short bursts, and rates are compared within a round.

Whatever slows the machine for a while slows all bursts of that round, so the ratio of two of them stays. The order
changes every round, so that none always follows the same other. The first call of a burst does not count: it meets
the caches of whoever came before, and the other's threads, which ONNX Runtime by itself lets spin for a moment.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from export.bench_contenders import Contender, Field
from export.errors import ExportError
from handlers.latents import draw_latents

ROUNDS = 10
SEED = 0

Clock = Callable[[], float]  # seconds


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """Median and quartiles."""

    lower: float
    median: float
    upper: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of at least two values, interpolated linearly."""
        lower, median, upper = statistics.quantiles(values, n=4, method="inclusive")
        return cls(lower=lower, median=median, upper=upper)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """A contender at one batch size.

    Attributes:
        contender: who.
        batch: images a call.
        rates: images a second, one value a round.
        calls_s: the duration of every counted call.
        ratio: of its rate to the naive one's, both of one round.
    """

    contender: Contender
    batch: int
    rates: tuple[float, ...]
    calls_s: tuple[float, ...]
    ratio: Spread

    @property
    def images_per_second(self) -> float:
        """The median round's."""
        return statistics.median(self.rates)

    def latency_ms(self, percentile: float) -> float:
        """Of all counted calls, from 0 to 100."""
        return float(np.percentile(self.calls_s, percentile)) * 1000


def measure(
    field: Field,
    batches: Sequence[int],
    seconds: float,
    clock: Clock,
    say: Callable[[str], object],
    rounds: int = ROUNDS,
) -> tuple[list[Result], dict[str, str]]:
    """Measure everybody at every batch size; the naive one comes first of each size.

    Args:
        field: who takes part.
        batches: images a call.
        seconds: about how long each contender works at each batch size, in all rounds together.
        clock: seconds.
        say: is told the progress.
        rounds: at least 2.

    Returns:
        The results, and why each contender that opened and then did not run is not among them.

    Raises:
        ExportError: the naive one does not run.
    """
    failed: dict[str, str] = {}
    everybody = [field.naive, *field.contenders]
    for one in everybody:  # a call of each size, so that what is compiled or allocated then is done with
        say(f"warming up {one.name}")
        for batch in batches:
            try:
                one.draw(*_inputs(one, batch))
            except Exception as error:  # whatever ONNX Runtime throws at a graph that it loads and cannot run
                failed[one.name] = (str(error).strip() or type(error).__name__).splitlines()[0]
    if field.naive.name in failed:
        raise ExportError(f"nothing to compare with: {field.naive.name} does not run: {failed[field.naive.name]}")
    running = [one for one in everybody if one.name not in failed]
    results: list[Result] = []
    started, total_rounds = clock(), rounds * len(batches)
    for batch in batches:
        inputs = {one.name: _inputs(one, batch) for one in running}
        rates: dict[str, list[float]] = {one.name: [] for one in running}
        calls_s: dict[str, list[float]] = {one.name: [] for one in running}
        for number in range(rounds):
            for one in _order(running, number):
                durations = _burst(one, inputs[one.name], seconds / rounds, clock)
                rates[one.name].append(batch * len(durations) / sum(durations))
                calls_s[one.name].extend(durations)
            done = rounds * batches.index(batch) + number + 1
            left_s = (clock() - started) / done * (total_rounds - done)
            say(f"batch {batch}: round {number + 1} of {rounds}; about {left_s:.0f} s left")
        for one in running:
            ratios = [mine / naive for mine, naive in zip(rates[one.name], rates[field.naive.name], strict=True)]
            results.append(
                Result(
                    contender=one,
                    batch=batch,
                    rates=tuple(rates[one.name]),
                    calls_s=tuple(calls_s[one.name]),
                    ratio=Spread.of(ratios),
                )
            )
    return results, failed


def _inputs(one: Contender, batch: int) -> tuple[Any, Any]:
    """Latents as a server draws them, and every class in turn."""
    facts = one.metadata
    z = draw_latents(SEED, range(batch), facts.latent_dim, distribution=facts.latent_distribution)
    labels = np.arange(batch, dtype=np.int64) % facts.num_classes if facts.num_classes else None
    return z, labels


def _order(everybody: Sequence[Contender], number: int) -> list[Contender]:
    """Another one begins every round, and every second round goes backwards."""
    start = number % len(everybody)
    order = [*everybody[start:], *everybody[:start]]
    return order if number % 2 == 0 else order[::-1]


def _burst(one: Contender, inputs: tuple[Any, Any], seconds: float, clock: Clock) -> list[float]:
    """Durations of the calls of one burst, at least one."""
    one.draw(*inputs)
    durations: list[float] = []
    marks = [clock()]
    while not durations or marks[-1] - marks[0] < seconds:
        one.draw(*inputs)
        marks.append(clock())
        durations.append(marks[-1] - marks[-2])
    return durations
