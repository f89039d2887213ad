"""How fast an export is meant to be, and whether `sngan bench infer` found it so on a processor that can."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from export.bench import Result
from handlers.processor import VNNI

BATCH = 16  # the bars are for this batch size; where it was not measured, the largest counts


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Bar:
    """A ratio to the naive float32 graph that a form must reach on processors with one of `needs`.

    Attributes:
        title: what must reach it.
        at_least: the ratio.
        provider, precision: which results count.
        target: which of them, or None for every target.
        needs: processor flags, one of which is enough; empty for every processor.
        needs_text: what they are called.
    """

    title: str
    at_least: float
    provider: str
    precision: str
    target: str | None = None
    needs: frozenset[str] = frozenset()
    needs_text: str = ""


BARS = (
    Bar(title="float32, target cpu, CPU provider", at_least=1.2, provider="cpu", precision="float32", target="cpu"),
    Bar(
        title="int8, CPU provider",
        at_least=2.4,
        provider="cpu",
        precision="int8",
        needs=VNNI | {"amx_int8"},
        needs_text="VNNI or AMX",
    ),
    Bar(
        title="bfloat16, OpenVINO",
        at_least=6.0,
        provider="openvino-bf16",
        precision="float32",
        needs=frozenset({"amx_bf16"}),
        needs_text="AMX",
    ),
)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """A bar and how it stands here.

    Attributes:
        bar: the bar.
        state: "reached", "missed", "not judged" (measured, on a processor that lacks what it takes), "not measured".
        best: the best result that counts, or None.
        reason: why it is not judged or not measured, else empty.
    """

    bar: Bar
    state: str
    best: Result | None
    reason: str = ""


def judge(results: Sequence[Result], left_out: Mapping[str, str], flags: frozenset[str]) -> list[Verdict]:
    """A verdict for every bar.

    Args:
        results: of one run.
        left_out: reasons against contenders, by their names; each tells why a bar was not measured.
        flags: of the processor; empty if unknown.
    """
    return [_verdict(bar, results, left_out, flags) for bar in BARS]


def _verdict(bar: Bar, results: Sequence[Result], left_out: Mapping[str, str], flags: frozenset[str]) -> Verdict:
    sizes = {result.batch for result in results}
    batch = BATCH if BATCH in sizes else max(sizes, default=BATCH)
    lacking = f"this processor lacks {bar.needs_text}" if bar.needs and not bar.needs & flags else ""
    if lacking and not flags:
        lacking = f"whether this processor has {bar.needs_text} is not told"
    counting = [
        result
        for result in results
        if result.batch == batch
        and (result.contender.provider, result.contender.metadata.precision) == (bar.provider, bar.precision)
        and bar.target in (None, result.contender.metadata.target)
    ]
    if not counting:
        on_provider = f" on {bar.provider}"
        reasons = [reason for name, reason in left_out.items() if name.endswith(on_provider)]
        absent = f"no {bar.precision} file" + (f" for the target {bar.target}" if bar.target else "")
        reason = "; ".join(filter(None, [lacking, reasons[0] if reasons else absent]))
        return Verdict(bar=bar, state="not measured", best=None, reason=reason)
    best = max(counting, key=lambda result: result.ratio.median)
    if lacking:
        return Verdict(bar=bar, state="not judged", best=best, reason=lacking)
    return Verdict(bar=bar, state="reached" if best.ratio.median >= bar.at_least else "missed", best=best)
