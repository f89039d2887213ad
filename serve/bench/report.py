"""The figures of `sngan bench serve` as plain values for JSON, and as tables."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from serve.bench.bars import Verdict
from serve.bench.burst import PERCENTILES
from serve.bench.contenders import Contender, Field
from serve.bench.measure import Result
from serve.bench.memory import Memory

SCHEMA = "sngan-bench-serve/1"
TABLE_WIDTH = 200  # more than any row


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """One run.

    Attributes:
        machine: what the figures depend on.
        client: the load client's name.
        field: who took part, and who did not.
        results: a contender's together.
        memory: by contender.
        verdicts: on the bars.
    """

    machine: Mapping[str, Any]
    client: str
    field: Field
    results: Sequence[Result]
    memory: Mapping[str, Memory]
    verdicts: Sequence[Verdict]

    def as_values(self) -> dict[str, Any]:
        """Nested plain values; a list under `rounds` has every round's figures."""
        return {
            "schema": SCHEMA,
            "machine": dict(self.machine),
            "client": self.client,
            "servers": [self._server(one) for one in self.field.contenders],
            "results": [_result(result) for result in self.results],
            "bars": [dataclasses.asdict(verdict) for verdict in self.verdicts],
            "left_out": dict(self.field.left_out),
        }

    def as_text(self) -> str:
        """Tables and sentences, in lines as wide as they need to be."""
        lines = [f"load by {self.client}", "", self._loads(), "", self._servers(), ""]
        lines += [f"{verdict.title}: {verdict.state}{_found(verdict)}" for verdict in self.verdicts]
        lines += ["", *(f"not measured: {name}: {why}" for name, why in self.field.left_out.items())]
        return "\n".join(lines).rstrip()

    def _server(self, one: Contender) -> dict[str, Any]:
        return {
            "name": one.name,
            "provider": one.provider,
            "variant": one.variant,
            "mode": one.mode,
            "workers": one.workers,
            "threads": one.threads,
            "batch_size": one.batch_size,
            "first_answer_s": one.first_answer_s,
            "memory": dataclasses.asdict(self.memory[one.name]),
        }

    def _loads(self) -> str:
        table = _table(
            "server",
            "images",
            "at once",
            "images/s",
            "p50 ms",
            "p95 ms",
            "p99 ms",
            "alone ms",
            "of ONNX Runtime alone",
            "errors",
        )
        for result in self.results:
            low, high = result.ratios[0], result.ratios[-1]
            table.add_row(
                result.contender.name,
                str(result.point.images),
                str(result.point.concurrency),
                f"{result.images_per_second:.4g}",
                *(f"{result.latency_ms(percentile):.4g}" for percentile in PERCENTILES),
                f"{result.raw_ms:.4g}",
                f"{statistics.median(result.ratios):.2f} ({low:.2f} to {high:.2f})",
                ", ".join(f"{count} {name}" for name, count in result.errors.items()) or "0",
            )
        return _text(table)

    def _servers(self) -> str:
        table = _table(
            "server", "precision", "workers", "threads", "batch", "first 200 s", "root MiB", "worker MiB", "all MiB"
        )
        for one in self.field.contenders:
            memory = self.memory[one.name]
            table.add_row(
                one.name,
                one.variant or "",
                str(one.workers) if one.mode else "",
                str(one.threads) if one.mode else "",
                str(one.batch_size or ""),
                f"{one.first_answer_s:.1f}",
                f"{memory.root_mib:.0f}",
                f"{memory.largest_child_mib:.0f}",
                f"{memory.whole_mib:.0f}",
            )
        return _text(table)


def _result(result: Result) -> dict[str, Any]:
    return {
        "server": result.contender.name,
        "images": result.point.images,
        "concurrency": result.point.concurrency,
        "images_per_second": result.images_per_second,
        "latency_ms": {f"p{percentile}": _known(result.latency_ms(percentile)) for percentile in PERCENTILES},
        "raw_median_ms": result.raw_ms,
        "ratio_to_raw": {
            "median": statistics.median(result.ratios),
            "lowest": result.ratios[0],
            "highest": result.ratios[-1],
        },
        "errors": result.errors,
        "rounds": [
            {
                "requests": turn.burst.requests,
                "seconds": turn.burst.seconds,
                "images_per_second": turn.burst.images_per_second,
                "client_cpu_s": turn.burst.client_cpu_s,
                "raw_images_per_second": turn.raw.images_per_second,
                "raw_median_ms": turn.raw.median_ms,
                "ratio_to_raw": turn.ratio,
            }
            for turn in result.turns
        ],
    }


def _known(value: float) -> float | None:
    """JSON has no NaN, which is the latency of no answers."""
    return None if math.isnan(value) else value


def _found(verdict: Verdict) -> str:
    return "" if verdict.found is None else f" at {verdict.found:.2f}"


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="")
    table.add_column(first, no_wrap=True)
    for heading in others:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _text(table: Table) -> str:
    console = Console(width=TABLE_WIDTH, color_system=None, legacy_windows=False)
    with console.capture() as captured:
        console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())
