"""`sngan bench serve`: our server under load, beside ONNX Runtime without one and beside other servers."""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sngan_cli.errors import CommandError, UsageError
from sngan_cli.files import write_whole

if TYPE_CHECKING:
    from serve.bench.contenders import OpenRival

app = typer.Typer()

MAX_CONCURRENCY = 256
ARCHIVE, GENERATOR = "sngan.mar", "generator.onnx"
LITSERVE, STOCK = "LitServe", "TorchServe, stock, PyTorch eager"


@app.command()
def serve(
    source: Annotated[
        Path,
        typer.Argument(metavar="DIR|FILE|RUN", help="An export's folder, its sngan.mar or generator.onnx, or a run."),
    ],
    images: Annotated[str, typer.Option(help="Images a request, separated by commas.")] = "1,16",
    concurrency: Annotated[str, typer.Option(help="Requests at once, separated by commas.")] = "1,8,32",
    provider: Annotated[
        str | None,
        typer.Option(help="ONNX Runtime providers, separated by commas.", show_default="every one that runs here"),
    ] = None,
    mode: Annotated[
        str, typer.Option(help="As `sngan serve` starts, or with its --latency, or both.")
    ] = "throughput,latency",
    variant: Annotated[str, typer.Option(help="Precision, as for `sngan serve`.")] = "auto",
    batch_size: Annotated[
        int | None, typer.Option(min=1, max=64, help="As for `sngan serve`.", show_default="the provider's")
    ] = None,
    rivals: Annotated[
        bool, typer.Option("--rivals/--no-rivals", help="LitServe, and TorchServe with PyTorch (that needs a run).")
    ] = True,
    warm_up_s: Annotated[
        float, typer.Option("--warm-up", min=0.1, max=60, help="Seconds of load on each server before it counts.")
    ] = 12.0,
    seconds: Annotated[float, typer.Option(min=0.1, max=30, help="Of a burst; longer for slow requests.")] = 5.0,
    rounds: Annotated[int, typer.Option(min=1, max=20, help="Everybody's turns under each load.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with every round's figures.")] = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the JSON to this file too.")] = None,
) -> None:
    """Put `sngan serve` under load, and set it beside ONNX Runtime without a server, with the same threads.

    Starts servers on free ports of this machine, and stops them. All take turns in one run, so the ratios hold on a
    shared machine too. The load comes from wrk where it is installed, else from a client of ours, on the same
    processor. Exit code 0 whatever the figures, 1 if nothing could be measured.
    """
    from handlers.request import MAX_IMAGES
    from serve.bench.asyncio_client import AsyncioClient
    from serve.bench.bars import judge
    from serve.bench.contenders import MODES, opened
    from serve.bench.measure import Point, measure
    from serve.bench.report import Report
    from serve.bench.wrk_client import WrkClient, wrk_is_here

    points = [
        Point(images=n, concurrency=c)
        for n in _numbers("--images", images, MAX_IMAGES)
        for c in _numbers("--concurrency", concurrency, MAX_CONCURRENCY)
    ]
    modes = _words("--mode", mode, MODES)
    providers = None if provider is None else _words("--provider", provider, _provider_names())
    machine = _machine()
    client = WrkClient() if wrk_is_here() else AsyncioClient()
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(_file(source))
        others = stack.enter_context(_rivals(source)) if rivals else {}
        running = opened(
            file,
            providers=providers,
            modes=modes,
            variant=variant,
            batch_size=batch_size,
            rivals=others,
            say=_say,
        )
        field = stack.enter_context(running)
        if rivals and STOCK not in others:
            field.left_out[STOCK] = "needs the network's weights for PyTorch: give a run's folder"
        results, memory = measure(field, points, client, warm_up_s=warm_up_s, seconds=seconds, rounds=rounds, say=_say)
    report = Report(
        machine=machine,
        client=client.name,
        field=field,
        results=results,
        memory=memory,
        verdicts=judge(field, results, memory),
    )
    values = json.dumps(report.as_values(), indent=2)
    if output is not None:
        write_whole((values + "\n").encode("utf-8"), output)
    from export.bench_report import machine_lines

    print(values if as_json else "\n".join([*machine_lines(machine), report.as_text()]))


def _numbers(option: str, text: str, largest: int) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and 1 <= int(part) <= largest for part in parts):
        raise UsageError(f"{option} {text!r}: numbers from 1 to {largest}, separated by commas, as in 1,16")
    return list(dict.fromkeys(map(int, parts)))


def _words(option: str, text: str, allowed: tuple[str, ...]) -> list[str]:
    parts = list(dict.fromkeys(part.strip() for part in text.split(",")))
    for part in parts:
        if part not in allowed:
            raise UsageError(f"{option} {part!r}: one or more of {', '.join(allowed)}, separated by commas")
    return parts


def _provider_names() -> tuple[str, ...]:
    from handlers.providers import PROVIDERS

    return tuple(PROVIDERS)


@contextlib.contextmanager
def _file(source: Path) -> Iterator[Path]:
    """What is served: `source`, or what lies in it, or what is exported from it."""
    from export.bench_source import export_folder

    if source.is_file():
        yield source
        return
    with export_folder(source, ("fp32",), _say) as folder:
        found = [path for name in (ARCHIVE, GENERATOR) if (path := folder / name).is_file()]
        if not found:
            raise CommandError(f"{source}: neither a {ARCHIVE} nor a {GENERATOR} in it; `sngan export` writes both")
        yield found[0]


@contextlib.contextmanager
def _rivals(source: Path) -> Iterator[dict[str, OpenRival]]:
    """Other servers, ready to be started; TorchServe's stock way if `source` is a run."""
    from serve.bench.rivals import litserve, stock_torchserve

    with tempfile.TemporaryDirectory(prefix="sngan-bench-") as private:
        folder = Path(private)
        found: dict[str, OpenRival] = {
            LITSERVE: lambda generator, workers, threads: litserve(
                generator, workers=workers, threads=threads, folder=folder
            )
        }
        if (source / "checkpoints").is_dir():
            from export.stock_archive import write_stock_archive

            archive = write_stock_archive(source, folder / "stock.mar")
            found[STOCK] = lambda generator, workers, threads: stock_torchserve(archive, folder=folder)
        yield found


def _machine() -> dict[str, object]:
    """What the figures depend on, from before the load; a word of warning if others use the machine too."""
    from export.bench_report import machine
    from handlers.processor import usable_cores

    facts = machine(usable_cores())
    if facts["busy"]:
        _say(f"the machine is busy: load {facts['load_average']} on {facts['cores']} cores before the start")
    return facts


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
