"""Check a `.mar` as it lies there: its bytes, what TorchServe needs of it, and the generators inside."""

from __future__ import annotations

import hashlib
import json
import tempfile
import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from export.archive import HANDLER_FILE, MANIFEST
from export.check_generator import GeneratorCheck
from export.checks import Check, in_order
from export.errors import VerificationError
from export.seal import ARCHIVE_SEAL, require_seal

NEEDED = (HANDLER_FILE, "handlers/__init__.py", "model-config.yaml")


class ArchiveCheck:
    """The steps of checking the archive `path`, in this order: each relies on those before it."""

    def __init__(self, path: Path, *, provider: str = "cpu", checked: Collection[str] = ()) -> None:
        """Check `path`, which is not opened yet.

        Args:
            path: the file.
            provider: what draws the images of the generators inside.
            checked: SHA-256 of generator files that need no second look.
        """
        self._path = path
        self._provider = provider
        self._checked = checked
        self._version = ""
        self._generators: dict[str, bytes] = {}

    def run(self, subject: str) -> Iterator[Check]:
        """All steps, up to the first that fails; then those of each generator inside, as "subject:its name"."""
        passed = True
        steps = ("seal", self.check_seal), ("content", self.check_content)
        for check in in_order(subject, self._path, *steps):
            passed = check.status == "PASS"
            yield check
        if not passed:
            return
        for name, content in self._generators.items():
            if hashlib.sha256(content).hexdigest() in self._checked:
                continue
            with tempfile.TemporaryDirectory(prefix="sngan-verify-") as private:
                file = Path(private) / "generator.onnx"
                file.write_bytes(content)
                inside = GeneratorCheck(file, provider=self._provider, expected={"version": self._version})
                yield from inside.run(f"{subject}:{name}")

    def check_seal(self) -> str:
        """The file is what was sealed."""
        content = self._path.read_bytes()
        require_seal(content, ARCHIVE_SEAL)
        return f"SHA-256 {hashlib.sha256(content).hexdigest()}"

    def check_content(self) -> str:
        """TorchServe finds what it looks for; the generators are read."""
        try:
            with zipfile.ZipFile(self._path) as archive:
                names = archive.namelist()
                model: dict[str, Any] = json.loads(archive.read(MANIFEST))["model"]
                self._version, served, handler = model["modelVersion"], model["serializedFile"], model["handler"]
                missing = [name for name in (*NEEDED, served, handler) if name not in names]
                if missing:
                    raise VerificationError(f"not an archive of `sngan export`: lacks {', '.join(missing)}")
                self._generators = {name: archive.read(name) for name in names if name.endswith(".onnx")}
        except (zipfile.BadZipFile, KeyError, TypeError, ValueError) as error:
            raise VerificationError(f"not an archive of `sngan export`: {error}") from error
        known = sum(hashlib.sha256(content).hexdigest() in self._checked for content in self._generators.values())
        same = f", {known} checked above" if known else ""
        return f"{len(names)} files; generators: {', '.join(self._generators)}{same}; serves {served}"
