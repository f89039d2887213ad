"""The whole export: load, fold, write, verify, archive. Nothing appears in the output folder unless all of it holds."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any

import onnx
import torch

from export.archive import ARCHIVE_NAME, write_archive
from export.errors import ExportError, OptionError, OutputExistsError, VerificationError
from export.fold import fold_spectral_norm, sigma_report
from export.metadata import generator_metadata
from export.onnx_writer import generator_to_onnx, traces_of_power_iteration, write_with_metadata
from export.verify import Verification, verify
from handlers.metadata import GeneratorMetadata
from sngan_train.checkpoint import Checkpoint, open_checkpoint

GENERATOR_NAME = "generator.onnx"
VERSION_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]*")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Exported:
    """What an export wrote."""

    generator: Path
    archive: Path
    verification: Verification


def export_run(
    run: Path,
    output: Path,
    *,
    version: str = "1.0",
    default_truncation: float | None = None,
    force: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> Exported:
    """Export the newest checkpoint of `run` (or the checkpoint folder `run`) into the folder `output`.

    Raises:
        sngan_train.errors.CheckpointError: no checkpoint, or a damaged one.
        OptionError: `version` or `default_truncation` cannot be used.
        OutputExistsError: `output` is there and `force` is not set.
        VerificationError: the forms of the generator differ; nothing was written.
        ExportError: anything else that stopped it; nothing was written.
    """
    if not VERSION_PATTERN.fullmatch(version):
        raise OptionError(f"--version {version!r}: letters, digits, '.', '_' and '-', as in 1.0")
    if default_truncation is not None and not 0 < default_truncation <= 2:
        raise OptionError(f"--truncation {default_truncation}: must be above 0 and at most 2")
    if output.exists() and not force:
        raise OutputExistsError(f"{output} exists; give another folder with -o, or --force to replace what is in it")
    checkpoint = open_checkpoint(run)
    config, num_classes = checkpoint.config, len(checkpoint.class_names)
    metadata = generator_metadata(checkpoint, version)
    if default_truncation is not None and metadata.latent_distribution != "normal":
        raise OptionError(
            f"--truncation {default_truncation}: this model's latents are {metadata.latent_distribution}, "
            "and truncation is for normal ones; leave it out"
        )

    say(f"folding the averaged generator of {checkpoint.path}")
    unfolded = checkpoint.load_generator_ema()
    folded = fold_spectral_norm(unfolded, config, num_classes)
    sigmas = sigma_report(unfolded, folded, config.spectral_norm.lipschitz)

    say("writing the ONNX graph")
    model = generator_to_onnx(folded)
    traces = traces_of_power_iteration(model)
    if traces:
        raise VerificationError(f"the graph still holds spectral norm: {', '.join(traces[:3])}; nothing was written")

    say("comparing un-folded PyTorch, folded PyTorch and ONNX Runtime")
    verification = verify(unfolded, folded, model, num_classes)
    say(
        f"{verification.num_images} images at batch sizes {', '.join(map(str, verification.batch_sizes))}: "
        f"folding changed at most {verification.fold_max_abs:.1e}, "
        f"ONNX Runtime at most {verification.onnx_runtime_max_abs:.1e}"
    )
    metadata = dataclasses.replace(
        metadata,
        default_truncation=default_truncation,
        provenance=_provenance(checkpoint),
        verification={**dataclasses.asdict(verification), "sigmas": sigmas},
    )
    try:
        _write(output, model, metadata)
    except OSError as error:
        raise ExportError(f"{output}: cannot be written ({error.strerror or error}); nothing was left there") from error
    return Exported(generator=output / GENERATOR_NAME, archive=output / ARCHIVE_NAME, verification=verification)


def _write(output: Path, model: onnx.ModelProto, metadata: GeneratorMetadata) -> None:
    """Make the folder beside its final place, then move it there."""
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{output.name}-", dir=output.parent) as private:
        folder = Path(private) / "new"
        folder.mkdir()
        write_with_metadata(model, metadata, folder / GENERATOR_NAME)
        write_archive(folder / GENERATOR_NAME, metadata.version, folder / ARCHIVE_NAME)
        if not output.exists():
            folder.rename(output)
            return
        for file in folder.iterdir():  # --force: replace our files one by one, and no others
            shutil.move(file, output / file.name)


def _provenance(checkpoint: Checkpoint) -> Mapping[str, Any]:
    weights = (checkpoint.path / "generator_ema.safetensors").read_bytes()
    return {
        "checkpoint_meta_sha256": checkpoint.meta_sha256,
        "generator_ema_sha256": hashlib.sha256(weights).hexdigest(),
        "sngan_version": package_version("sngan"),
        "torch_version": torch.__version__,
        "onnx_version": onnx.__version__,
    }
