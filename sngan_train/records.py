"""JSON lines: one record a line with its `step`, appended whole. `stats.jsonl` and `spectrum.jsonl` are such files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sngan_train.errors import TrainError


def append_record(path: Path, record: Mapping[str, Any]) -> None:
    """Add `record` as the last line of `path`; raises TrainError if it cannot be written."""
    line = json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n"
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(line)
    except OSError as error:
        raise TrainError(f"{path}: cannot be written to ({error.strerror}); the same command goes on later") from error


def read_records(path: Path) -> list[dict[str, Any]]:
    """All whole records of `path`, oldest first; a line that a kill tore is passed over, an absent file is empty."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")  # splitlines would split at U+2028, too
    records = (_parse(line) for line in lines)
    return [record for record in records if record is not None]


def drop_records_after(path: Path, step: int) -> None:
    """Forget the records of steps that will be done again, and a torn line."""
    if not path.exists():
        return
    kept = [record for record in read_records(path) if record["step"] <= step]
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in kept), encoding="utf-8")
    partial.replace(path)


def _parse(line: str) -> dict[str, Any] | None:
    """The record, or None for a line that is none."""
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and isinstance(record.get("step"), int) else None
