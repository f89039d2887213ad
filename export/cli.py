"""`sngan export`. PyTorch and ONNX are imported inside the command."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from export.errors import ExportError

app = typer.Typer(no_args_is_help=True)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="A run's folder (its newest checkpoint is taken) or a checkpoint's.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write; it must not exist.")],
    precision: Annotated[
        str,
        typer.Option(
            help="fp32, fp16 (for CUDA and TensorRT), int8 (for the CPU); several with commas. fp32 is always written, "
            "the others only if their images stay close enough to its own."
        ),
    ] = "fp32",
    target: Annotated[
        str,
        typer.Option(
            help="Whose runtime the graph is made fast for: cpu, gpu, or portable, the plainest one. The first is "
            "generator.onnx, each other one is a file beside it; all draw the same."
        ),
    ] = "cpu,portable",
    version: Annotated[str, typer.Option(help="The model's version, as the server shows it.")] = "1.0",
    truncation: Annotated[
        float | None,
        typer.Option(
            help="Truncation where a request names none, above 0 up to 2.",
            show_default="no truncation",
        ),
    ] = None,
    licence: Annotated[
        str | None,
        typer.Option("--licence", "--license", help="Of the model, for its card.", show_default="not stated"),
    ] = None,
    triton: Annotated[bool, typer.Option("--triton", help="Also write a Triton model repository.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the files of an earlier export.")] = False,
) -> None:
    """Write verified ONNX files, a TorchServe archive, a model card and a report of what was proven.

    Prints the folder. Exit code 3 means that the proof failed and nothing was written.
    """
    try:
        from export.pipeline import export_run
    except ModuleNotFoundError as error:
        raise ExportError(f"exporting needs {error.name}: `pip install 'sngan[export,cpu]'`") from error

    exported = export_run(
        run,
        output,
        version=version,
        default_truncation=truncation,
        targets=_names(target),
        precisions=_names(precision),
        licence=licence,
        triton=triton,
        force=force,
        say=lambda text: print(text, file=sys.stderr, flush=True),
    )
    print(output)
    for refused in exported.refused:
        print(f"{refused} was not written: export_report.json says why", file=sys.stderr)
    print(
        f"next: sngan sample {exported.generator} -o images.png, sngan verify {output}, or sngan serve "
        f"{exported.archive}",
        file=sys.stderr,
    )


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
