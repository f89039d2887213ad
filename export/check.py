"""Check what an export wrote, on any machine: a folder, an archive or a generator file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from export.check_archive import ArchiveCheck
from export.check_folder import FolderCheck
from export.check_generator import GeneratorCheck
from export.checks import Check
from export.errors import ExportError, OptionError


def check(path: Path, provider: str = "cpu") -> Iterator[Check]:
    """Every check of `path`, each as it is done.

    Args:
        path: the folder of an export, a `.mar` or an `.onnx` file.
        provider: the execution provider that draws the images; see GeneratorSession.

    Raises:
        ExportError: there is nothing at `path`.
        OptionError: `path` is none of the three.
    """
    if not path.exists():
        raise ExportError(f"{path}: no such file or folder; `sngan export RUN -o DIR` writes one")
    if path.is_dir():
        return FolderCheck(path, provider=provider).run()
    if path.suffix == ".mar":
        return ArchiveCheck(path, provider=provider).run(path.name)
    if path.suffix == ".onnx":
        return GeneratorCheck(path, provider=provider).run(path.name)
    raise OptionError(f"{path}: give the folder of an export, a .mar or an .onnx file")
