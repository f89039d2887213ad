"""Who is measured by `sngan bench infer`: every generator file of a folder on every provider, and the naive way.

Naive is the plain float32 graph as anybody would run it who has not read our documentation: ONNX Runtime's own session
options but for the number of threads, a whole batch at once, the image as it leaves the graph. Ours run as they are
served, images one by one on the CPU provider, and come out as bytes, which the naive way leaves to its user.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.errors import ExportError
from handlers.errors import HandlersError
from handlers.metadata import GeneratorMetadata
from handlers.providers import PROVIDERS, reason_against
from handlers.session import QUIET, GeneratorSession, import_onnxruntime

PATTERN = "generator*.onnx"
PLAIN_FILE = "generator-portable.onnx"
PLAIN = ("portable", "float32")  # target and precision of the graph that the others are compared with
NAIVE = "naive"

Draw = Callable[[NDArray[np.float32], "NDArray[np.int64] | None"], object]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Contender:
    """One file on one provider.

    Attributes:
        file: its name in the folder.
        provider: of `handlers.providers.PROVIDERS`, or NAIVE.
        metadata: of the file.
        draw: draws one batch of latents (n, latent_dim) and labels (n,), None without classes.
        notes: what the session says about this file on this provider.
    """

    file: str
    provider: str
    metadata: GeneratorMetadata
    draw: Draw
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Unique in a folder."""
        return f"{self.file} on {self.provider}"

    @property
    def form(self) -> tuple[str, str]:
        """Target and precision."""
        return self.metadata.target, self.metadata.precision


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    """Those that are measured, the baseline among them, and the reason against each other one, by its name."""

    naive: Contender
    contenders: tuple[Contender, ...]
    left_out: Mapping[str, str]


def assemble(folder: Path, threads: int, say: Callable[[str], object]) -> Field:
    """Open the files of `folder` on the providers of the installed ONNX Runtime package.

    Raises:
        ExportError: there are no files, or none to compare with, or none that opens.
    """
    paths = sorted(folder.glob(PATTERN))
    if not paths:
        raise ExportError(f"{folder}: no {PATTERN}; `sngan export RUN -o {folder} --target cpu,portable` writes them")
    available = import_onnxruntime().get_available_providers()
    against = {name: reason for name in PROVIDERS if (reason := reason_against(name, available)) is not None}
    left_out = {f"everything on {name}": reason for name, reason in against.items()}
    opened: list[Contender] = []
    for path in paths:
        say(f"opening {path.name}")
        for provider in PROVIDERS:
            if provider in against:
                continue
            try:
                session = GeneratorSession(path, provider=provider, threads=threads)
            except HandlersError as error:
                left_out[f"{path.name} on {provider}"] = str(error)
                continue
            opened.append(
                Contender(
                    file=path.name,
                    provider=provider,
                    metadata=session.metadata,
                    draw=session.generate_levels,
                    notes=session.notes,
                )
            )
    if not opened:
        raise ExportError(f"{folder}: nothing can be measured: {next(iter(left_out.values()))}")
    plain = _plain(folder, opened)
    naive = dataclasses.replace(plain, provider=NAIVE, draw=_naive_draw(folder / plain.file, threads), notes=())
    for one in opened:
        if _weights(one) != _weights(plain):
            left_out[one.name] = f"made from other weights than {plain.file}"
    same = tuple(one for one in opened if one.name not in left_out)
    return Field(naive=naive, contenders=same, left_out=left_out)


def _plain(folder: Path, opened: list[Contender]) -> Contender:
    found = [one for one in opened if one.form == PLAIN]
    if not found:
        raise ExportError(
            f"{folder}: no float32 file for the target portable, so nothing to compare with; "
            "`sngan export RUN -o DIR --target cpu,portable` writes one"
        )
    return next((one for one in found if one.file == PLAIN_FILE), found[0])


def _weights(one: Contender) -> object:
    """What tells two checkpoints apart."""
    return one.metadata.provenance.get("generator_ema_sha256")


def _naive_draw(path: Path, threads: int) -> Draw:
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = QUIET
    session: Any = onnxruntime.InferenceSession(str(path), options, providers=[PROVIDERS["cpu"]])

    def draw(z: NDArray[np.float32], labels: NDArray[np.int64] | None) -> object:
        return session.run(["image"], {"z": z} if labels is None else {"z": z, "label": labels})

    return draw
