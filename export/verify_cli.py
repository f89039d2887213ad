"""`sngan verify`. Needs ONNX Runtime, and neither PyTorch nor the checkpoint."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from export.errors import VerificationError

app = typer.Typer(no_args_is_help=True)


@app.command()
def verify(
    exported: Annotated[
        Path, typer.Argument(help="The folder of an export, an archive (.mar) or a generator (.onnx).")
    ],
    provider: Annotated[
        str, typer.Option(help="What draws the images that are compared: a provider that `sngan serve` knows, or auto.")
    ] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print the checks as JSON.")] = False,
) -> None:
    """Check that an export is whole, well-formed, and draws here what was trained.

    Prints one line a check. Exit code 3 means that one failed.
    """
    from export.check import check
    from export.checks import Check

    done: list[Check] = []
    for one in check(exported, provider):
        done.append(one)
        if not as_json:
            print(f"{one.status}  {one.subject:26}  {one.what:7}  {one.detail}", flush=True)
    failed = [one for one in done if one.status == "FAIL"]
    if as_json:
        record = {"path": str(exported), "passed": not failed, "checks": [dataclasses.asdict(one) for one in done]}
        print(json.dumps(record, indent=2, ensure_ascii=False))
    if failed:
        more = f" (and {len(failed) - 1} more, above)" if len(failed) > 1 else ""
        raise VerificationError(f"{_name(exported, failed[0].subject)}: {failed[0].detail}{more}")
    print(f"{exported}: {sum(one.status == 'PASS' for one in done)} checks passed", file=sys.stderr)


def _name(exported: Path, subject: str) -> str:
    """The file that failed, as the user would name it."""
    return str(exported / subject) if exported.is_dir() else str(exported.parent / subject)
