"""`sngan study`. PyTorch is imported inside the command."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from sngan_train.errors import ConfigError
from sngan_train.metrics.protocol import find_protocol
from sngan_train.study.cell import Cell, CellResult, read_result
from sngan_train.study.grids import STUDIES, Options, Study, cells_of
from sngan_train.study.scales import SCALES, Scale

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

app = typer.Typer()
T = TypeVar("T")
LAUNCHERS = ("local", "ray")


@app.command()
def study(
    name: Annotated[str, typer.Argument(help=f"Which: {', '.join(STUDIES)}.")],
    scale: Annotated[str, typer.Option(help="tiny, small or paper: size of images and networks, steps.")] = "tiny",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The study's folder.", show_default="studies/SCALE")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="Images in place of the paper's, as --data of `sngan train`.")
    ] = None,
    methods: Annotated[str, typer.Option(help="Only these, as in sn,wgan-gp.", show_default="all of the study's")] = "",
    settings: Annotated[str, typer.Option(help="Only these, as in A,D.", show_default="all")] = "",
    seeds: Annotated[int | None, typer.Option(min=1, help="Runs of each cell.", show_default="the scale's")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Generator updates.", show_default="the scale's")] = None,
    conditional: Annotated[
        bool, typer.Option("--conditional", help="Conditional networks, which the paper's table and settings are not.")
    ] = False,
    launcher: Annotated[str, typer.Option(help="local, or ray: a Ray cluster.")] = "local",
    at_once: Annotated[int | None, typer.Option(min=1, help="Cells at once.", show_default="as many as fit")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Of each cell, on a CPU.")] = 1,
    gpus: Annotated[float, typer.Option(min=0, help="Of each cell, on Ray.")] = 0.0,
    ray_address: Annotated[
        str | None, typer.Option(help="Of the cluster.", show_default="a Ray of this machine")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the cells and an estimate of time, and stop.")
    ] = False,
    report_only: Annotated[bool, typer.Option("--report", help="Write the report of what there is, and stop.")] = False,
) -> None:
    """Run a table or figure of the paper as a grid of trainings, and report it beside the paper's numbers.

    The same command again goes on where it stopped; what is finished is not run again. Prints the report's file.
    """
    chosen, size = _find(name, STUDIES, "study"), _find(scale, SCALES, "--scale")
    if launcher not in LAUNCHERS:
        raise ConfigError(f"--launcher {launcher!r} is not one of {', '.join(LAUNCHERS)}")
    options = Options(
        data=data,
        seeds=seeds,
        methods=_names(methods),
        settings=_names(settings),
        total_steps=steps,
        conditional=conditional,
    )
    cells = cells_of(chosen, size, options)
    root = output or Path("studies") / scale
    missing = [cell for cell in cells if not _is_finished(root, cell)]
    _say(f"{name} at scale {scale}: {len(cells)} cells, {len(cells) - len(missing)} of them done; {size.words}")
    workers = 1
    if not report_only and launcher == "local":
        try:
            from sngan_train.study.local_launcher import fitting_workers
        except ModuleNotFoundError as error:
            raise ConfigError(f"studies need {error.name}: `pip install 'sngan[train,evaluate]'`") from error
        workers = at_once or fitting_workers(threads, device)
    if dry_run:
        _dry_run(missing, workers=workers, threads=threads, device=device)
        return
    if missing and not report_only:
        told = _teller(len(missing))
        if launcher == "ray":
            _launch_on_ray(missing, root, told, cpus=threads, gpus=gpus, address=ray_address, device=device)
        else:
            from sngan_train.study.local_launcher import launch_here

            launch_here(missing, root, workers=workers, threads=threads, device=device, report=told)
    print(_report(chosen, size, options, cells, root))
    _say(f"next: look at it; the cells' results are in {root / 'cells'}, small enough to commit")


def _find(name: str, known: dict[str, T], what: str) -> T:
    if name not in known:
        raise ConfigError(f"{what} {name!r} is unknown; known: {', '.join(known)}")
    return known[name]


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _is_finished(root: Path, cell: Cell) -> bool:
    result = read_result(root, cell)
    return result is not None and result.finished


def _dry_run(missing: Sequence[Cell], *, workers: int, threads: int, device: str) -> None:
    from sngan_train.study.estimate import estimate

    for cell in missing:
        print(cell.name)
    if not missing:
        return
    _say("timing a few updates of each kind of cell")
    protocol = find_protocol(missing[0].protocol)
    images = max(protocol.fake_images, protocol.score_sets * protocol.score_images)
    seconds = estimate(missing, images, workers=workers, threads=threads, device=device)
    at_once = f"{workers} at once with {threads} thread{'s' * (threads > 1)} each"
    _say(f"estimate: {_duration(seconds)} for {len(missing)} cells, {at_once}")


def _teller(total: int) -> Callable[[CellResult], None]:
    """Says of each cell how it ended, and how long the rest will take."""
    import time

    started, done = time.monotonic(), 0

    def tell(result: CellResult) -> None:
        nonlocal done
        done += 1
        left = (time.monotonic() - started) / done * (total - done)
        said = result.reason
        if result.record:
            headline = result.record["headline"]
            said = f"{headline} {result.record['values'][headline]:.4g}"
        _say(f"[{done}/{total}] {result.name}: {result.status}{': ' * bool(said)}{said}; {_duration(left)} left")

    return tell


def _launch_on_ray(
    cells: Sequence[Cell],
    root: Path,
    tell: Callable[[CellResult], None],
    *,
    cpus: float,
    gpus: float,
    address: str | None,
    device: str,
) -> None:
    import functools

    from sngan_train.study.conduct import run_cell
    from sngan_train.study.ray_launcher import launch_on_ray

    run = functools.partial(run_cell, device=device)
    launch_on_ray(cells, root, run=run, cpus_per_cell=cpus, gpus_per_cell=gpus, address=address, report=tell)


def _report(chosen: Study, size: Scale, options: Options, cells: Sequence[Cell], root: Path) -> Path:
    from sngan_train.study.report import write_report

    results = []
    for cell in cells:
        result = read_result(root, cell)
        missing = CellResult(name=cell.name, axes=cell.axes, fingerprint=cell.fingerprint, status="missing")
        results.append(result or missing)
    return write_report(root, chosen, size, options, results, root / chosen.name)


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{max(1, minutes)} min"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
