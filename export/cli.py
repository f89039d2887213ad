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
    version: Annotated[str, typer.Option(help="The model's version, as the server shows it.")] = "1.0",
    truncation: Annotated[
        float | None,
        typer.Option(help="Truncation where a request names none, above 0 up to 2.", show_default="no truncation"),
    ] = None,
    force: Annotated[bool, typer.Option(help="Replace the files of an earlier export.")] = False,
) -> None:
    """Write generator.onnx and sngan.mar, after proving that they draw what was trained.

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
        force=force,
        say=lambda text: print(text, file=sys.stderr, flush=True),
    )
    print(output)
    print(
        f"next: sngan sample {exported.generator} -o images.png, or sngan serve {exported.archive}",
        file=sys.stderr,
    )
