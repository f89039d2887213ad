"""`sngan presets` and `sngan train`. PyTorch is imported inside the commands."""

from __future__ import annotations

import json
import os
import sys
import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer

from sngan_train.config import RunConfig, parse_assignments
from sngan_train.errors import ConfigError
from sngan_train.paper_presets import PROTOCOL, SETTINGS
from sngan_train.preset import Preset
from sngan_train.presets import PRESETS, find_preset

app = typer.Typer(no_args_is_help=True)


@app.command()
def presets(
    name: Annotated[str | None, typer.Argument(help="Print this preset's whole config as JSON.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="List the paper's grid one by one.")] = False,
) -> None:
    """List what can be trained, with its source and the published score."""
    if name is not None:
        config = find_preset(name)
        print(json.dumps(config.to_dict(), indent=2))
        for line in _about(PRESETS[name], with_protocol=True):
            print(line, file=sys.stderr)
        return
    for group, members in _groups(everything).items():
        print(f"{group}\n  {members[0].summary.replace('setting A', 'settings A to F')}")
        for line in _about(members[0]):
            print(f"  {line}")
    print(f"\nThe papers' scores: {PROTOCOL}.", file=sys.stderr)
    print("next: sngan presets NAME, or sngan train --preset NAME", file=sys.stderr)


def _groups(everything: bool) -> dict[str, list[Preset]]:
    """Presets by the name to show; runs that differ in the setting alone share one."""
    groups: dict[str, list[Preset]] = {}
    for name, preset in PRESETS.items():
        outer, _, setting = name.rpartition("/")
        shared = not everything and setting in SETTINGS
        groups.setdefault(f"{outer}/{{A..F}}" if shared else name, []).append(preset)
    return groups


def _about(preset: Preset, *, with_protocol: bool = False) -> list[str]:
    lines = [("source", preset.source), ("published", preset.published)]
    lines += [("protocol", preset.protocol)] if with_protocol else []
    return [f"{label}: {text}" for label, text in lines if text]


@app.command()
def train(
    preset: Annotated[str, typer.Option(help="A name from `sngan presets`.")] = "digits",
    data: Annotated[
        str | None,
        typer.Option(
            help="What to learn from: digits, fashion-mnist, cifar10, cifar100, stl10, stl10-labeled, or folder:PATH "
            "with a directory, tar or zip that holds one folder a class.",
            show_default="the preset's",
        ),
    ] = None,
    run: Annotated[Path | None, typer.Option(help="The run's folder.", show_default="runs/PRESET")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Override a setting, as in training.total_steps=500. Repeatable.",
        ),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="A TOML file of settings, laid over the preset.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    seed: Annotated[int | None, typer.Option(help="Shorthand for --set training.seed=N.")] = None,
    evaluate_every: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Steps between evaluations, of which the best checkpoint is kept; 0 is never. Shorthand for --set "
            "training.evaluate_every=N.",
            show_default="the preset's",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option(help="Print the whole config as JSON and stop.")] = False,
) -> None:
    """Train a generator, or go on training: the same command again resumes the run.

    Prints the run's folder. Settings are laid over one another in the order preset, --config, --data, --seed
    and --evaluate-every, --set; `sngan train --preset NAME --dry-run` shows them all.
    """
    resolved = find_preset(preset)
    if config is not None:
        resolved = resolved.override(_read_toml(config))
    if data is not None:
        resolved = resolved.override({"data": {"source": data}})
    shorthands = {"seed": seed, "evaluate_every": evaluate_every}
    resolved = resolved.override({"training": {key: value for key, value in shorthands.items() if value is not None}})
    resolved = resolved.override(parse_assignments(set_ or []))
    if dry_run:
        print(json.dumps(resolved.to_dict(), indent=2))
        return
    run_dir = run if run is not None else Path("runs") / preset
    run_training(resolved, run_dir, device)
    from sngan_train.distributed import Processes

    if Processes.of_environment(os.environ).is_first:  # under torchrun one process speaks for all
        print(run_dir)
        print(f"next: sngan export {run_dir} -o {run_dir}/export", file=sys.stderr)


def run_training(config: RunConfig, run_dir: Path, device: str = "auto", *, quiet: bool = False) -> Path:
    """Load the data and train; gives the last checkpoint's folder."""
    try:
        from sngan_train.distributed import Processes, joined
        from sngan_train.loop import train as train_loop
        from sngan_train.runtime import choose_device
        from sngan_train.sources import load_data
    except ModuleNotFoundError as error:
        raise ConfigError(f"training needs {error.name}: `pip install 'sngan[train]'`") from error

    processes = Processes.of_environment(os.environ)
    chosen = choose_device(device, local_rank=processes.local_rank)
    with joined(processes, chosen):
        silent = quiet or not processes.is_first
        with processes.in_turn():  # so that one alone downloads
            images = load_data(config.data, lambda text: None if silent else print(text, file=sys.stderr, flush=True))
        return train_loop(config, images, run_dir, chosen, processes=processes, quiet=quiet)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"--config {path}: cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"--config {path}: not valid TOML ({error})") from error
