"""The entry point: composes the sub-commands and turns errors into one line and an exit code.

Exit codes: 0 done, 1 failed, 2 usage, 3 verification failed, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from importlib.metadata import version
from typing import Annotated

import typer

import export.cli
import export.verify_cli
import serve.cli
import sngan_cli.bench
import sngan_cli.demo
import sngan_cli.doctor
import sngan_cli.sample
import sngan_train.cli
import sngan_train.evaluate_cli
import sngan_train.spectrum_cli
import sngan_train.study.cli
from export.errors import ExportError
from handlers.errors import HandlersError
from serve.errors import ServeError
from sngan_cli.errors import CommandError
from sngan_train.errors import TrainError

USER_ERRORS = (TrainError, ExportError, ServeError, HandlersError, CommandError)
INTERRUPTED = 130

app = typer.Typer(
    help="Class-conditional GANs with spectral normalisation: images in, an HTTP endpoint that draws new ones out.",
    epilog="Start with `sngan demo`. Each command has a --help of its own.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
# In the order in which a newcomer meets them.
for part in (
    sngan_cli.demo,
    sngan_train.cli,
    sngan_train.evaluate_cli,
    sngan_cli.sample,
    export.cli,
    export.verify_cli,
    serve.cli,
    sngan_train.spectrum_cli,
    sngan_train.study.cli,
    sngan_cli.bench,
    sngan_cli.doctor,
):
    app.add_typer(part.app)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(version("sngan"))
        raise typer.Exit


@app.callback()
def _options(
    show_version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and stop.", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    """Options of the command itself."""


def main() -> None:
    """Run the command line; never shows a traceback for what a user can cause."""
    try:
        app()
    except USER_ERRORS as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # `sngan presets | head`: the reader has gone, which is no fault of ours
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
