"""How good a server is meant to be, and whether `sngan bench serve` found it so.

The bars of speed are for a network like the paper's ResNet for CIFAR-10 (4.3 million parameters, 17 MB): of a smaller
one's time the protocol takes more, and they say nothing about it.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence

from serve.bench.contenders import LATENCY, THROUGHPUT, Field
from serve.bench.measure import Point, Result
from serve.bench.memory import MIB, Memory

FLOAT32_BYTES_FROM = 15_000_000
MEGABYTE = 1e6


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RatioBar:
    """Images a second under a load, as a share of ONNX Runtime's without a server."""

    provider: str
    point: Point
    at_least: float


RATIO_BARS = (
    RatioBar(provider="cpu", point=Point(images=1, concurrency=32), at_least=0.90),
    RatioBar(provider="openvino-bf16", point=Point(images=1, concurrency=32), at_least=0.7),
    RatioBar(provider="openvino-bf16", point=Point(images=16, concurrency=32), at_least=0.9),
)
LONE = Point(images=1, concurrency=1)
ADDED_MS = 4.0
FIRST_ANSWER_S = 3.0
WORKER_MEGABYTES = 250.0


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """A bar and how it stands.

    Attributes:
        title: what is asked for.
        state: "reached", "missed", "not judged" (measured, with a network that the bar is not for) or "not measured".
        found: the figure, None if not measured.
    """

    title: str
    state: str
    found: float | None = None


def judge(field: Field, results: Sequence[Result], memory: Mapping[str, Memory]) -> list[Verdict]:
    """A verdict for every bar.

    Args:
        field: who took part.
        results: of one run.
        memory: at its end, by contender.
    """
    large = field.float32_bytes >= FLOAT32_BYTES_FROM
    verdicts = []
    for bar in RATIO_BARS:
        title = (
            f"{bar.provider}, {bar.point.images} image(s) a request, {bar.point.concurrency} at once: "
            f"at least {bar.at_least:g} of ONNX Runtime alone"
        )
        result = _result(results, bar.provider, THROUGHPUT, bar.point)
        ratio = None if result is None else statistics.median(result.ratios)
        verdicts.append(_verdict(title, ratio, ratio is not None and ratio >= bar.at_least, large))
    lone = _result(results, "cpu", LATENCY, LONE)
    added = None if lone is None else lone.added_ms()
    title = f"cpu, --latency, a lone request: at most ONNX Runtime's median + {ADDED_MS:g} ms"
    verdicts.append(_verdict(title, added, added is not None and added <= ADDED_MS, large))
    ours = [one for one in field.contenders if one.mode is not None]
    first_s = max(one.first_answer_s for one in ours)
    title = f"the slowest server's first 200: at most {FIRST_ANSWER_S:g} s after its start"
    verdicts.append(_verdict(title, first_s, first_s <= FIRST_ANSWER_S))
    worker = max(memory[one.name].largest_child_mib for one in ours) * MIB / MEGABYTE
    title = f"the largest worker: at most {WORKER_MEGABYTES:g} MB"
    verdicts.append(_verdict(title, worker, worker <= WORKER_MEGABYTES))
    return verdicts


def _result(results: Sequence[Result], provider: str, mode: str, point: Point) -> Result | None:
    wanted = (provider, mode, point)
    return next((r for r in results if (r.contender.provider, r.contender.mode, r.point) == wanted), None)


def _verdict(title: str, found: float | None, good: bool, judged: bool = True) -> Verdict:
    if found is None:
        return Verdict(title=title, state="not measured")
    return Verdict(title=title, state=("reached" if good else "missed") if judged else "not judged", found=found)
