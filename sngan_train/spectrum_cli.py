"""`sngan spectrum`. PyTorch is imported inside the command."""

from __future__ import annotations

import enum
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sngan_train.errors import ConfigError

if TYPE_CHECKING:
    from sngan_train.checkpoint import Checkpoint
    from sngan_train.models import Discriminator, Generator
    from sngan_train.spectrum_report import MeasuredLayer

app = typer.Typer()


class Which(enum.StrEnum):
    """Whose layers."""

    DISCRIMINATOR = "discriminator"
    GENERATOR = "generator"
    GENERATOR_EMA = "generator-ema"
    ALL = "all"


@app.command()
def spectrum(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="LABEL=RUN",
            help="A run's folder (its newest checkpoint is taken) or a checkpoint's. Several are compared in one "
            "figure. LABEL= may be left out; the run's preset is the label then.",
        ),
    ],
    network: Annotated[Which, typer.Option(help="Whose layers.")] = Which.DISCRIMINATOR,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Folder for the files; if not given, RUN/spectrum, and of several ./spectrum."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with every singular value.")] = False,
    operator_norm: Annotated[
        bool,
        typer.Option(help="Measure the norm of each convolution itself, too: seconds to minutes for wide networks."),
    ] = True,
) -> None:
    """Write all singular values of every layer of a run, or of several beside each other: CSV and a figure.

    Prints the paths of spectrum.csv (a row a singular value), layers.csv (a row a layer: σ by u, v and by SVD,
    effective rank, the norm of the convolution beside that of the reshaped kernel) and a PNG a network.
    """
    try:
        from sngan_train import spectrum_figure, spectrum_report
        from sngan_train.checkpoint import open_checkpoint
    except ModuleNotFoundError as error:
        raise ConfigError(f"reading a run needs {error.name}: `pip install 'sngan[train]'`") from error

    named = [_parse(text) for text in runs]
    opened = [(label, path, open_checkpoint(path)) for label, path in named]
    checkpoints = _labelled(opened)
    folder = output if output is not None else _default_folder([path for _, path, _ in opened])
    names = [which.value for which in Which if which is not Which.ALL] if network is Which.ALL else [network.value]
    layers: list[MeasuredLayer] = []
    for name in names:
        for label, checkpoint in checkpoints.items():
            measured = _measure(label, checkpoint, name, operator_norm=operator_norm)
            print(f"{spectrum_report.as_text(measured)}\n", file=sys.stderr, flush=True)
            layers += measured

    files = spectrum_report.write_tables(layers, folder)
    try:
        for name in names:
            members = [layer for layer in layers if layer.network == name]
            files.append(spectrum_report.write_whole(folder / f"{name}.png", spectrum_figure.figure_png(members)))
    finally:  # without matplotlib the tables are there all the same
        if as_json:
            print(json.dumps(spectrum_report.as_values(layers, files), indent=2))
        else:
            for path in files:
                print(path)
    folders = [str(_run_folder(path)) for _, path, _ in opened]
    print(f"over the steps: tensorboard --logdir {os.path.commonpath(folders) or '.'}", file=sys.stderr)
    if len(runs) == 1:
        print(f"next: sngan spectrum {runs[0]} ANOTHER_RUN, to compare them", file=sys.stderr)
    elif network is Which.DISCRIMINATOR:
        print(f"next: sngan spectrum {' '.join(runs)} --network all", file=sys.stderr)


def _parse(text: str) -> tuple[str | None, Path]:
    """`LABEL=RUN` or `RUN`; a folder that has a = in its own name is taken as it is."""
    label, equals, path = text.partition("=")
    if not equals or Path(text).is_dir():
        return None, Path(text)
    if not label or not path:
        raise ConfigError(f"{text!r}: write it as LABEL=RUN, as in wide=runs/cifar10")
    return label, Path(path)


def _labelled(opened: Sequence[tuple[str | None, Path, Checkpoint]]) -> Mapping[str, Checkpoint]:
    """By label, which is the preset's name where that is one run's alone, else the path."""
    presets = Counter(checkpoint.config.preset for label, _, checkpoint in opened if label is None)
    labelled: dict[str, Checkpoint] = {}
    for given, path, checkpoint in opened:
        preset = checkpoint.config.preset
        label = given or (preset if presets[preset] == 1 else str(path))
        if label in labelled:
            raise ConfigError(f"two runs go by the label {label!r}; give each its own, as in first={path}")
        labelled[label] = checkpoint
    return labelled


def _run_folder(path: Path) -> Path:
    """The run's folder for a run or for one of its checkpoints."""
    return path.parent.parent if path.parent.name == "checkpoints" else path


def _default_folder(paths: Sequence[Path]) -> Path:
    return _run_folder(paths[0]) / "spectrum" if len(paths) == 1 else Path("spectrum")


def _measure(label: str, checkpoint: Checkpoint, network_name: str, *, operator_norm: bool) -> list[MeasuredLayer]:
    """Every layer of one network of a checkpoint, in the network's order."""
    from rich.console import Console

    from sngan_train.models import weight_layers
    from sngan_train.models.layers import Convolution, Resampling
    from sngan_train.models.spectral_norm import SigmaSource, SpectralNorm
    from sngan_train.operator_norm import operator_norms
    from sngan_train.spectrum import network_spectrum
    from sngan_train.spectrum_report import MeasuredLayer

    load: Mapping[str, Callable[[], Discriminator | Generator]] = {
        "discriminator": checkpoint.load_discriminator,
        "generator": checkpoint.load_generator,
        "generator-ema": checkpoint.load_generator_ema,
    }
    network = load[network_name]()
    data = checkpoint.config.data

    with Console(stderr=True).status(f"{label}, {network_name}: singular values") as status:  # silent in a log file
        spectra, norms = network_spectrum(network), {}
        if operator_norm:
            shape = (data.channels, data.image_size, data.image_size)
            norms = operator_norms(
                network, shape, lambda layer: status.update(f"{label}, {network_name}: norm of {layer}")
            )
    measured = []
    for name, layer in weight_layers(network):
        kind = type(layer).__name__
        if isinstance(layer, Convolution) and layer.resampling is not Resampling.NONE:
            kind += f", {layer.resampling.value}sampling"
        source = ""
        if isinstance(layer.rule, SpectralNorm):
            source = "stored" if layer.rule.source is SigmaSource.FIXED else "u, v"
        rows, columns = layer.weight_matrix(layer.weight).shape
        measured.append(
            MeasuredLayer(
                run=label,
                step=checkpoint.step,
                network=network_name,
                layer=name,
                kind=kind,
                weight_shape=tuple(layer.weight.shape),
                matrix_shape=(rows, columns),
                sigma_source=source,
                spectrum=spectra[name],
                operator=norms.get(name),
            )
        )
    return measured
