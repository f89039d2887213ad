"""The files of an export: made in a folder beside their final place, then moved there."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx

from export.archive import ARCHIVE_NAME, write_archive
from export.check_folder import REPORT_NAME
from export.model_card import CARD_NAME, PICTURE_COLUMNS, PICTURE_NAME, model_card, picture_latents
from export.onnx_writer import write_with_metadata
from export.report import Findings, facts_of, report_bytes
from export.triton import write_triton_repository
from handlers.metadata import GeneratorMetadata
from handlers.response import encode_png, grid
from handlers.session import GeneratorSession, to_uint8

GENERATOR_NAME = "generator.onnx"
SUFFIXES = {"float16": "fp16", "int8": "int8"}
TRITON_FOLDER = "triton"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class GeneratorFile:
    """A graph to be written, and what distinguishes it."""

    name: str
    model: onnx.ModelProto
    target: str
    precision: str


def generator_files(
    graphs: Mapping[str, onnx.ModelProto], targets: Sequence[str], variants: Mapping[str, tuple[str, onnx.ModelProto]]
) -> list[GeneratorFile]:
    """`generator.onnx` for the first target, a file for each other one, a file for each precision.

    Args:
        graphs: float32, by target.
        targets: to be written.
        variants: target and graph, by precision.
    """
    files = [GeneratorFile(name=GENERATOR_NAME, model=graphs[targets[0]], target=targets[0], precision="float32")]
    files += [
        GeneratorFile(name=f"generator-{target}.onnx", model=graphs[target], target=target, precision="float32")
        for target in targets[1:]
    ]
    return files + [
        GeneratorFile(name=f"generator-{SUFFIXES[precision]}.onnx", model=model, target=target, precision=precision)
        for precision, (target, model) in variants.items()
    ]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Extras:
    """What accompanies the generators: the licence that the card names, and whether Triton gets a repository."""

    licence: str | None = None
    triton: bool = False


def write_artefacts(
    output: Path, metadata: GeneratorMetadata, generators: Sequence[GeneratorFile], findings: Findings, extras: Extras
) -> None:
    """Write the folder `output`, whole or not at all; the files of an earlier export in it are replaced.

    Args:
        output: exists only if what it holds of an export may be replaced; other files there stay.
        metadata: of the first generator, its `verification` left to this function.
        generators: the first is what the archive serves.
        findings: for the report and the metadata.
        extras: beside them.

    Raises OSError if it cannot be written.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{output.name}-", dir=output.parent) as private:
        folder = Path(private) / "new"
        folder.mkdir()
        _fill(folder, metadata, generators, findings, extras)
        if not output.exists():
            folder.rename(output)
            return
        _replace(folder, output)


def _fill(
    folder: Path, metadata: GeneratorMetadata, generators: Sequence[GeneratorFile], findings: Findings, extras: Extras
) -> None:
    files = {}
    for file in generators:
        described = dataclasses.replace(
            metadata,
            precision=file.precision,
            target=file.target,
            verification=findings.for_the_file(file.target, file.precision),
        )
        write_with_metadata(file.model, described, folder / file.name)
        files[file.name] = facts_of(folder / file.name, precision=file.precision, target=file.target)
    target = generators[0].target
    first = dataclasses.replace(metadata, target=target, verification=findings.for_the_file(target, "float32"))
    served = [folder / file.name for file in generators if file.precision != "float32" or file is generators[0]]
    write_archive(served, metadata.version, folder / ARCHIVE_NAME)
    files[ARCHIVE_NAME] = facts_of(folder / ARCHIVE_NAME)
    if extras.triton:
        for path in write_triton_repository(folder / generators[0].name, first, folder / TRITON_FOLDER):
            files[path.relative_to(folder).as_posix()] = facts_of(path)
    (folder / PICTURE_NAME).write_bytes(_picture(folder / generators[0].name))
    files[PICTURE_NAME] = facts_of(folder / PICTURE_NAME)
    (folder / CARD_NAME).write_text(model_card(first, files, extras.licence), encoding="utf-8")
    files[CARD_NAME] = facts_of(folder / CARD_NAME)
    (folder / REPORT_NAME).write_bytes(report_bytes(first, findings, files))


def _picture(generator: Path) -> bytes:
    session = GeneratorSession(generator, provider="cpu")
    images = to_uint8(session.generate(*picture_latents(session.metadata)))
    return encode_png(grid(images, columns=PICTURE_COLUMNS))


def _replace(folder: Path, output: Path) -> None:
    """Put our files in the place of an earlier export's; of its other files those go that are no longer true."""
    new = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    for path in (*output.glob("generator-*.onnx"), *output.glob(f"{TRITON_FOLDER}/**/*")):
        if path.is_file() and path.relative_to(output) not in new:
            path.unlink()
    for name in sorted(new):
        (output / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.move(folder / name, output / name)
    with contextlib.suppress(OSError):  # it is not empty
        (output / TRITON_FOLDER).rmdir()
