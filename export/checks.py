"""One checked thing, and how checks of one file follow one another."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from export.errors import ExportError
from handlers.errors import HandlersError

Step = tuple[str, Callable[[], str]]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """What became of one check.

    Attributes:
        subject: the file, as seen from what the user named; of a file in an archive, "archive:file".
        what: "bytes" against the report, "seal", "schema", "content" or "parity".
        status: "SKIP" where there was nothing to check with, or no reason to.
        detail: what was found, in a few words.
    """

    subject: str
    what: str
    status: Literal["PASS", "FAIL", "SKIP"]
    detail: str


def in_order(subject: str, path: Path, *steps: Step) -> Iterator[Check]:
    """Run each step; what follows one that fails is not run, since it would read what is known to be wrong.

    A step returns what it found, and raises one of the packages' errors, or OSError, to fail. Errors that begin with
    `path` lose it: the subject says it in the user's words.
    """
    for what, step in steps:
        try:
            found = step()
        except (ExportError, HandlersError, OSError) as error:
            reason = (isinstance(error, OSError) and error.strerror) or str(error)
            yield Check(subject=subject, what=what, status="FAIL", detail=reason.removeprefix(f"{path}: "))
            return
        yield Check(subject=subject, what=what, status="PASS", detail=found)
