"""Check an export's folder: its report first, then every file against the report."""

from __future__ import annotations

import fnmatch
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from export import schema
from export.check_archive import ArchiveCheck
from export.check_generator import GeneratorCheck
from export.checks import Check, in_order
from export.errors import VerificationError
from export.seal import REPORT_SEAL, require_seal

REPORT_NAME = "export_report.json"
EXPORT_FORMAT = "sngan-export/1"
# What a server or a person would take for a part of the export.
OURS = ("generator*.onnx", "*.mar")


class FolderCheck:
    """The checks of the folder `path`."""

    def __init__(self, path: Path, *, provider: str = "cpu") -> None:
        """Check `path`; `provider` draws the images."""
        self._path = path
        self._provider = provider
        self._report: dict[str, Any] = {}
        self._checked: set[str] = set()  # SHA-256 of generators that passed

    def run(self) -> Iterator[Check]:
        """The report, every file that it lists, and what it does not list."""
        passed = True
        steps = ("seal", self.check_seal), ("schema", self.check_schema)
        for check in in_order(REPORT_NAME, self._path / REPORT_NAME, *steps):
            passed = check.status == "PASS"
            yield check
        if not passed:
            return  # what the other files should be is not known
        files: Mapping[str, Mapping[str, Any]] = self._report["files"]
        for name in sorted(files, key=lambda name: (name.endswith(".mar"), name)):  # an archive holds a file before it
            yield from self._file(name, files[name])
        yield from self._unlisted(files)

    def check_seal(self) -> str:
        """The report is what was sealed."""
        try:
            content = (self._path / REPORT_NAME).read_bytes()
        except FileNotFoundError as error:
            raise VerificationError(
                "is missing: not the folder of an export, or one from before there were reports; export it again"
            ) from error
        if REPORT_SEAL.encode() not in content:  # another format may be sealed otherwise
            _require_known_format(content)
        require_seal(content, REPORT_SEAL)
        self._report = _require_known_format(content)
        return f"SHA-256 {hashlib.sha256(content).hexdigest()}"

    def check_schema(self) -> str:
        """The report fits its schema."""
        if not schema.validates():
            _require_least(self._report)
            return f"{self._report['format']} (by the reader alone: jsonschema is not installed)"
        schema.require_valid(self._report, schema.EXPORT)
        return str(self._report["format"])

    def _file(self, name: str, entry: Mapping[str, Any]) -> Iterator[Check]:
        path = self._path / name
        passed = True
        for check in in_order(name, path, ("bytes", lambda: _same_bytes(path, entry))):
            passed = check.status == "PASS"
            yield check
        if not passed or entry["sha256"] in self._checked:
            return
        checks: Iterator[Check] = iter(())
        if name.endswith(".onnx"):
            expected = {key: entry[key] for key in ("precision", "target") if key in entry}
            reference = self._report["reference"]
            generator = GeneratorCheck(path, provider=self._provider, reference=reference, expected=expected)
            checks = generator.run(name)
        elif name.endswith(".mar"):
            checks = ArchiveCheck(path, provider=self._provider, checked=self._checked).run(name)
        for check in checks:
            passed = passed and check.status == "PASS"
            yield check
        if passed and name.endswith(".onnx"):
            self._checked.add(entry["sha256"])

    def _unlisted(self, files: Mapping[str, Any]) -> Iterator[Check]:
        for path in sorted(self._path.rglob("*")):
            name = path.relative_to(self._path).as_posix()
            if path.is_dir() or name in files or name == REPORT_NAME:
                continue
            if any(fnmatch.fnmatch(path.name, pattern) for pattern in OURS):
                detail = "not part of this export: left from an earlier one, or put here; remove it"
                yield Check(subject=name, what="bytes", status="FAIL", detail=detail)
            else:
                yield Check(subject=name, what="bytes", status="SKIP", detail="not part of the export")


def _same_bytes(path: Path, entry: Mapping[str, Any]) -> str:
    """`path` is the file that the report's `entry` describes."""
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise VerificationError("is missing") from error
    size = path.stat().st_size
    if size != entry["bytes"]:
        raise VerificationError(f"has {size:,} bytes, and not the {entry['bytes']:,} of the report")
    if digest != entry["sha256"]:
        raise VerificationError(f"has the SHA-256 {digest[:12]}…, and not the {entry['sha256'][:12]}… of the report")
    return f"SHA-256 {digest}"


def _require_known_format(content: bytes) -> dict[str, Any]:
    """The report, if it is one of this format."""
    try:
        record = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise VerificationError(f"is not JSON ({error}): damaged, or something else") from error
    found = record.get("format") if isinstance(record, dict) else None
    if found != EXPORT_FORMAT:
        raise VerificationError(
            f"its format {found!r} is not {EXPORT_FORMAT!r}; use the sngan version that wrote it, or export it again"
        )
    report: dict[str, Any] = record
    return report


def _require_least(report: Mapping[str, Any]) -> None:
    """What is read of a report without its schema at hand."""
    try:
        names = list(report["files"])
        entries = [(str(entry["sha256"]), int(entry["bytes"])) for entry in report["files"].values()]
        assert entries
        dict(report["reference"])
    except (AssertionError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise VerificationError(f"does not say what its files are ({error!r})") from error
    for name in names:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise VerificationError(f"names a file outside its folder: {name!r}")
