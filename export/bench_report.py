"""The figures of `sngan bench infer` as a table and as plain values."""

from __future__ import annotations

import dataclasses
import datetime
import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from rich.console import Console
from rich.table import Table

from export.bench import Result
from export.bench_bars import Verdict
from export.bench_contenders import NAIVE
from handlers.processor import AMX, ARM_INT8, BFLOAT16, VNNI, processor_flags, processor_name, usable_cores

SCHEMA = "sngan-bench-infer/1"
TOLD_FLAGS = VNNI | AMX | BFLOAT16 | ARM_INT8 | {"avx2", "avx512f", "bf16"}
RUNTIME_PACKAGES = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino")
TABLE_WIDTH = 200  # more than any row
BUSY_SHARE = 0.25  # of the cores, by the load of the last minute, from which the speeds are not to be trusted


def machine(threads: int) -> dict[str, Any]:
    """What the figures depend on beside the files; call it before the measurement, whose own load would count."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    cores = usable_cores()
    return {
        "date": datetime.date.today().isoformat(),
        "processor": processor_name(),
        "features": sorted(TOLD_FLAGS & processor_flags()),
        "cores": cores,
        "threads": threads,
        "load_average": None if load is None else round(load, 2),
        "busy": load is not None and load > BUSY_SHARE * cores,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "runtime": " and ".join(f"{name} {found}" for name in RUNTIME_PACKAGES if (found := _version(name))),
        "sngan": _version("sngan") or "from its sources",
    }


def machine_lines(facts: Mapping[str, Any]) -> list[str]:
    """What `machine` found, for people."""
    threads = f"{facts['threads']} thread{'s' if facts['threads'] != 1 else ''}"
    lines = [
        f"{facts['processor']} ({', '.join(facts['features']) or 'its instruction sets are not told'}), "
        f"{facts['cores']} cores, {threads}",
        f"{facts['runtime'] or 'ONNX Runtime of unknown version'}, Python {facts['python']}, {facts['system']}, "
        f"sngan {facts['sngan']}, {facts['date']}, load {facts['load_average']} at the start",
    ]
    if facts["busy"]:
        lines.append("The machine was busy with other work: look at the ratios, and measure again when it is idle.")
    return lines


def as_values(
    facts: Mapping[str, Any],
    results: Sequence[Result],
    verdicts: Sequence[Verdict],
    left_out: Mapping[str, str],
) -> dict[str, Any]:
    """Nested plain values for JSON; `rates` are those of the rounds, in their order."""
    return {
        "schema": SCHEMA,
        "machine": dict(facts),
        "results": [
            {
                "file": result.contender.file,
                "target": result.contender.metadata.target,
                "precision": result.contender.metadata.precision,
                "provider": result.contender.provider,
                "batch": result.batch,
                "images_per_second": result.images_per_second,
                "latency_ms": {"median": result.latency_ms(50), "p95": result.latency_ms(95)},
                "calls": len(result.calls_s),
                "ratio_to_naive": dataclasses.asdict(result.ratio),
                "rates": list(result.rates),
                "notes": list(result.contender.notes),
            }
            for result in results
        ],
        "bars": [
            {
                "title": verdict.bar.title,
                "at_least": verdict.bar.at_least,
                "state": verdict.state,
                "ratio": None if verdict.best is None else verdict.best.ratio.median,
                "batch": None if verdict.best is None else verdict.best.batch,
                "file": None if verdict.best is None else verdict.best.contender.file,
                "reason": verdict.reason,
            }
            for verdict in verdicts
        ],
        "left_out": dict(left_out),
    }


def as_text(
    facts: Mapping[str, Any],
    results: Sequence[Result],
    verdicts: Sequence[Verdict],
    left_out: Mapping[str, str],
) -> str:
    """The same for people, in lines as wide as the table needs."""
    lines = machine_lines(facts)
    lines += ["", _table(results), ""]
    lines += [_verdict_line(verdict) for verdict in verdicts]
    notes = dict.fromkeys(f"{result.contender.name}: {note}" for result in results for note in result.contender.notes)
    lines += ["", *notes] if notes else []
    lines += ["", *(f"not measured: {name}: {reason}" for name, reason in left_out.items())] if left_out else []
    return "\n".join(lines)


def _table(results: Sequence[Result]) -> str:
    table = Table(box=None, pad_edge=False, header_style="")
    for heading in ("file", "target", "precision", "provider"):
        table.add_column(heading, no_wrap=True)
    for heading in ("batch", "images/s", "median ms", "p95 ms", "times naive (quartiles)"):
        table.add_column(heading, justify="right", no_wrap=True)
    for result in results:
        one, ratio = result.contender, result.ratio
        table.add_row(
            one.file,
            *one.form,
            one.provider,
            str(result.batch),
            f"{result.images_per_second:.4g}",
            f"{result.latency_ms(50):.4g}",
            f"{result.latency_ms(95):.4g}",
            "1" if one.provider == NAIVE else f"{ratio.median:.2f} ({ratio.lower:.2f} to {ratio.upper:.2f})",
        )
    console = Console(width=TABLE_WIDTH, color_system=None, legacy_windows=False)
    with console.capture() as captured:
        console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def _verdict_line(verdict: Verdict) -> str:
    bar = verdict.bar
    wanted = f"{bar.title}: at least {bar.at_least:g} times naive" + (f" with {bar.needs_text}" if bar.needs else "")
    found = "" if verdict.best is None else f" at {verdict.best.ratio.median:.2f} in batches of {verdict.best.batch}"
    return f"{wanted}: {verdict.state}{found}" + (f" ({verdict.reason})" if verdict.reason else "")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
