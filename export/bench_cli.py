"""`sngan bench infer`. ONNX Runtime, and PyTorch where a run is exported first, are imported inside the command."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from export.errors import ExportError, OptionError

app = typer.Typer()

MAX_BATCH = 1024


@app.command()
def infer(
    source: Annotated[Path, typer.Argument(metavar="DIR|RUN", help="An export's folder, or a run to export first.")],
    batch: Annotated[str, typer.Option(help="Images a call, separated by commas.")] = "1,16",
    seconds: Annotated[float, typer.Option(min=0.01, help="For each file, provider and batch size.")] = 10.0,
    threads: Annotated[int | None, typer.Option(min=1, help="Of one call. [default: every usable core]")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with the rate of every round.")] = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the JSON to this file too.")] = None,
) -> None:
    """Time a generator's files, on every provider of this ONNX Runtime package, against the naive way to run it.

    Naive is the plain float32 graph in ONNX Runtime as it comes. All take turns in one run, so the ratios hold on a
    shared machine too. Exit code 0 whatever the figures, 1 if nothing could be measured.
    """
    batches = _batches(batch)
    import time

    from export import bench, bench_bars, bench_report
    from export.bench_contenders import assemble
    from export.bench_source import export_folder
    from handlers.processor import processor_flags, usable_cores

    chosen = threads or usable_cores()
    facts = bench_report.machine(chosen)
    if facts["busy"]:
        _say(f"the machine is busy: load {facts['load_average']} on {facts['cores']} cores before the start")
    with export_folder(source, ("fp32", "fp16", "int8"), _say) as folder:
        field = assemble(folder, chosen, _say)
        results, failed = bench.measure(field, batches, seconds, time.perf_counter, _say)
    left_out = {**field.left_out, **failed}
    verdicts = bench_bars.judge(results, left_out, processor_flags())
    values = json.dumps(bench_report.as_values(facts, results, verdicts, left_out), indent=2)
    if output is not None:
        _write(output, values + "\n")
    print(values if as_json else bench_report.as_text(facts, results, verdicts, left_out))


def _batches(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and 1 <= int(part) <= MAX_BATCH for part in parts):
        raise OptionError(f"--batch {text!r}: numbers from 1 to {MAX_BATCH}, separated by commas, as in 1,16")
    return list(dict.fromkeys(map(int, parts)))


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.partial")
    try:
        try:
            partial.write_text(text, encoding="utf-8")
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise ExportError(f"{path}: cannot be written ({error.strerror})") from error


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
