"""The rounds of `sngan bench serve`: everybody in turn, and every rate beside the baseline's of the same round.

Whatever slows the machine for a while slows all of a round, so the ratio of two of its rates stays.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Sequence

from serve.bench.burst import MAX_BURST_S, MAX_REQUESTS, Burst, Client, Load
from serve.bench.contenders import Contender, Field
from serve.bench.idle import wait_until_idle
from serve.bench.memory import Memory
from serve.bench.raw import RawBurst
from serve.errors import ServeError
from serve.exchange import exchange

# Of the largest concurrency, a burst must see so many answers a connection: the first wave meets an empty server.
WAVES = 2.5
SETTLE_S = MAX_BURST_S
# Java compiles what it has run some ten thousand times, and a server runs for days. Requests for no image are refused
# on the same way as others are answered, and take a tenth of their time or less.
WARM_UP_CONCURRENCY = 32
REFUSED_IMAGES = 0


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """A kind of load: images in a request, and requests at once."""

    images: int
    concurrency: int


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """One burst, and the baseline's beside it: as many of its processes as the requests can keep busy."""

    burst: Burst
    raw: RawBurst

    @property
    def ratio(self) -> float:
        """Of the images a second."""
        return self.burst.images_per_second / self.raw.images_per_second


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """A contender under one kind of load, a turn a round."""

    contender: Contender
    point: Point
    turns: tuple[Turn, ...]

    @property
    def images_per_second(self) -> float:
        """The median round's."""
        return statistics.median(turn.burst.images_per_second for turn in self.turns)

    @property
    def ratios(self) -> list[float]:
        """To the baseline, sorted."""
        return sorted(turn.ratio for turn in self.turns)

    @property
    def raw_ms(self) -> float:
        """The baseline's median call, in the median round."""
        return statistics.median(turn.raw.median_ms for turn in self.turns)

    def latency_ms(self, percentile: int) -> float:
        """Of `burst.PERCENTILES`, the median of the rounds'."""
        return statistics.median(turn.burst.latency_ms[percentile] for turn in self.turns)

    def added_ms(self) -> float:
        """What a request takes beside the baseline's call, by the medians of each round: the median round's."""
        return statistics.median(turn.burst.latency_ms[50] - turn.raw.median_ms for turn in self.turns)

    @property
    def errors(self) -> dict[str, int]:
        """Of all rounds."""
        found: dict[str, int] = {}
        for turn in self.turns:
            for name, count in turn.burst.errors.items():
                found[name] = found.get(name, 0) + count
        return found


def measure(
    field: Field,
    points: Sequence[Point],
    client: Client,
    *,
    warm_up_s: float,
    seconds: float,
    rounds: int,
    say: Callable[[str], object],
) -> tuple[list[Result], dict[str, Memory]]:
    """Put every contender under every load, `rounds` times.

    Args:
        field: those that take part, running.
        points: the loads.
        client: makes the bursts.
        warm_up_s: of load on each server before the rounds.
        seconds: of a burst; longer where a request takes so long that few would be answered.
        rounds: at least 1.
        say: is told the progress.

    Returns:
        The results, a contender's together, and what each held in memory after its last burst, by its name.

    Raises:
        ServeError: a server stopped answering.
    """
    for one in field.contenders:
        say(f"warming up {one.name} for {warm_up_s:g} s")
        _warm_up(one, client, field.classes, warm_up_s)
    turns: dict[tuple[str, Point], list[Turn]] = {}
    memory: dict[str, Memory] = {}
    started, done, total = time.monotonic(), 0, rounds * len(points) * len(field.contenders)
    for number in range(rounds):
        for point in points:
            for one in _order(field.contenders, number):
                turns.setdefault((one.name, point), []).append(_turn(one, point, client, field.classes, seconds, done))
                memory[one.name] = one.memory()
                done += 1
                left_s = (time.monotonic() - started) / done * (total - done)
                say(
                    f"round {number + 1} of {rounds}, {point.images} image(s) x {point.concurrency}, {one.name}: "
                    f"{turns[one.name, point][-1].ratio:.2f} of ONNX Runtime alone; about {left_s:.0f} s left"
                )
    results = [
        Result(contender=one, point=point, turns=tuple(turns[one.name, point]))
        for one in field.contenders
        for point in points
    ]
    return results, memory


def _warm_up(one: Contender, client: Client, classes: int, seconds: float) -> None:
    images = 1 if one.mode is None else REFUSED_IMAGES
    client(Load(url=one.url, images=images, classes=classes, concurrency=WARM_UP_CONCURRENCY, seconds=seconds))
    _settle(one)


def _order(contenders: Sequence[Contender], number: int) -> list[Contender]:
    """Another one begins every round."""
    start = number % len(contenders)
    return [*contenders[start:], *contenders[:start]]


def _turn(one: Contender, point: Point, client: Client, classes: int, seconds: float, number: int) -> Turn:
    busy = min(point.concurrency, one.workers)
    before = one.raw.burst(point.images, busy, seconds / 2)
    wave_s = point.concurrency * point.images / before.images_per_second
    load = Load(
        url=one.url,
        images=point.images,
        classes=classes,
        concurrency=point.concurrency,
        seconds=min(max(seconds, WAVES * wave_s), MAX_BURST_S / 2),
        first_seed=number * MAX_REQUESTS % 2**31,  # no burst asks for another's
    )
    burst = client(load)
    _settle(one)
    after = one.raw.burst(point.images, busy, seconds / 2)
    return Turn(burst=burst, raw=_mean(before, after))


def _mean(before: RawBurst, after: RawBurst) -> RawBurst:
    return RawBurst(
        images_per_second=(before.images_per_second + after.images_per_second) / 2,
        median_ms=(before.median_ms + after.median_ms) / 2,
    )


def _settle(one: Contender) -> None:
    """Wait for what the client has left behind, which would take the processor from the baseline.

    One more request is answered after all that were sent before have found a worker; the workers end their batches.
    """
    answer = exchange(
        one.url,
        method="POST",
        body=b'{"n": 1, "seed": 0}',
        headers={"Content-Type": "application/json"},
        timeout_s=SETTLE_S,
    )
    if answer.status >= 500:
        raise ServeError(f"{one.name}: HTTP {answer.status} after a burst")
    if not wait_until_idle(one.pid, SETTLE_S):
        raise ServeError(f"{one.name}: still at work {SETTLE_S:g} s after a burst")
