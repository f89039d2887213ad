"""The whole export: load, fold, write, rewrite, compare, convert, pack. Nothing appears unless all of it holds."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Callable, Sequence
from importlib.metadata import version as package_version
from pathlib import Path

import onnx
import torch

from export.archive import ARCHIVE_NAME
from export.artefacts import GENERATOR_NAME, Extras, generator_files, write_artefacts
from export.errors import ExportError, OptionError, OutputExistsError, VerificationError
from export.fold import fold_spectral_norm, require_finite, sigma_report
from export.metadata import generator_metadata
from export.onnx_writer import generator_to_onnx, traces_of_power_iteration
from export.parity import (
    FOLD_ATOL,
    ONNX_RUNTIME_ATOL,
    Parity,
    images_of,
    in_onnx_runtime,
    in_torch,
    parity,
    reference_batches,
)
from export.reference_images import FILE_IMAGES, FILE_PLACES, reference_of
from export.report import Findings
from export.targets import TARGETS, graph_for
from handlers.metadata import GeneratorMetadata
from sngan_train.checkpoint import Checkpoint, open_checkpoint

VERSION_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]*")
PRECISIONS = {"fp32": "float32", "fp16": "float16", "int8": "int8"}
# Half precision is for CUDA and TensorRT, 8-bit numbers are for the CPU: each is made of that graph.
TARGET_OF_PRECISION = {"float16": "gpu", "int8": "cpu"}

Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Exported:
    """What an export wrote, what it found, and the precisions that their gates refused."""

    generator: Path
    archive: Path
    findings: Findings
    refused: tuple[str, ...]


def export_run(
    run: Path,
    output: Path,
    *,
    version: str = "1.0",
    default_truncation: float | None = None,
    targets: Sequence[str] = ("cpu", "portable"),
    precisions: Sequence[str] = ("fp32",),
    licence: str | None = None,
    triton: bool = False,
    force: bool = False,
    say: Say = lambda text: None,
) -> Exported:
    """Export the newest checkpoint of `run` (or the checkpoint folder `run`) into the folder `output`.

    Args:
        run: a run's folder or a checkpoint's.
        output: is made.
        version: of the model, as a server shows it.
        default_truncation: where a request names none; None is no bound.
        targets: of TARGETS; the first is `generator.onnx`, each other one a float32 file beside it.
        precisions: of PRECISIONS; float32 is always written. One that its gate refuses is not, which is no error.
        licence: for the model card.
        triton: also write a Triton model repository.
        force: replace the files of an earlier export in `output`.
        say: is told what is being done.

    Raises:
        sngan_train.errors.CheckpointError: no checkpoint, or a damaged one.
        OptionError: an option cannot be used.
        OutputExistsError: `output` is there and `force` is not set.
        VerificationError: the forms of the generator differ; nothing was written.
        ExportError: anything else that stopped it; nothing was written.
    """
    _check_options(version, default_truncation, targets, precisions)
    if output.exists() and not force:
        raise OutputExistsError(f"{output} exists; give another folder with -o, or --force to replace what is in it")
    checkpoint = open_checkpoint(run)
    metadata = dataclasses.replace(
        generator_metadata(checkpoint, version),
        default_truncation=default_truncation,
        provenance=_provenance(checkpoint),
    )
    if default_truncation is not None and metadata.latent_distribution != "normal":
        raise OptionError(
            f"--truncation {default_truncation}: this model's latents are {metadata.latent_distribution}, "
            "and truncation is for normal ones; leave it out"
        )

    say(f"folding the averaged generator of {checkpoint.path}")
    config, num_classes = checkpoint.config, len(checkpoint.class_names)
    unfolded = checkpoint.load_generator_ema()
    require_finite(unfolded)
    folded = fold_spectral_norm(unfolded, config, num_classes)
    sigmas = sigma_report(unfolded, folded, config.spectral_norm.lipschitz)

    say("drawing what the un-folded generator draws, in PyTorch")
    batches = reference_batches(unfolded, num_classes)
    draw = images_of(in_torch(unfolded))
    findings = Findings(
        sigmas=sigmas,
        batches=batches,
        folded=parity(in_torch(folded), batches, "folded PyTorch", FOLD_ATOL),
        reference=reference_of(draw, metadata),
        reference_in_file=reference_of(draw, metadata, images=FILE_IMAGES, places=FILE_PLACES),
    )
    say(f"{_told(findings.folded)} after folding, {findings.num_images} images")

    portable = generator_to_onnx(folded)
    traces = traces_of_power_iteration(portable)
    if traces:
        raise VerificationError(f"the graph still holds spectral norm: {', '.join(traces[:3])}; nothing was written")
    graphs = _compare_targets(portable, findings, targets, say)
    variants = _make_variants(checkpoint, portable, metadata, precisions, findings, say)
    say(f"writing {output}")
    generators = generator_files(graphs, targets, variants)
    try:
        write_artefacts(output, metadata, generators, findings, Extras(licence=licence, triton=triton))
    except OSError as error:
        raise ExportError(f"{output}: cannot be written ({error.strerror or error}); nothing was left there") from error
    return Exported(
        generator=output / GENERATOR_NAME,
        archive=output / ARCHIVE_NAME,
        findings=findings,
        refused=tuple(name for name, facts in findings.precisions.items() if not facts["written"]),
    )


def _compare_targets(
    portable: onnx.ModelProto, findings: Findings, written: Sequence[str], say: Say
) -> dict[str, onnx.ModelProto]:
    """The graph of every target: all are compared, written or not, since they must be one function."""
    graphs = {}
    for target in TARGETS:
        graphs[target], rewrites = graph_for(target, portable)
        found = parity(in_onnx_runtime(graphs[target]), findings.batches, f"the graph for {target}", ONNX_RUNTIME_ATOL)
        findings.targets[target] = {
            "rewrites": rewrites,
            "parity": dataclasses.asdict(found),
            "written": target in written,
        }
        say(f"{_told(found)} in ONNX Runtime, graph for {target}")
    return graphs


def _make_variants(
    checkpoint: Checkpoint,
    portable: onnx.ModelProto,
    metadata: GeneratorMetadata,
    precisions: Sequence[str],
    findings: Findings,
    say: Say,
) -> dict[str, tuple[str, onnx.ModelProto]]:
    """Target and graph of every precision that passes its gate."""
    wanted = [name for name in precisions if name != "fp32"]
    if not wanted:
        return {}
    from export.precision.variants import make_variant  # heavy, and most exports need none
    from export.training_images import training_images

    passed = {}
    real = training_images(checkpoint, say)
    for name in wanted:
        precision = PRECISIONS[name]
        target = TARGET_OF_PRECISION[precision]
        of_target = dataclasses.replace(metadata, target=target)
        graph, _ = graph_for(target, portable, precision)
        say(f"{precision}: converting the graph for {target}, and comparing it with float32")
        variant = make_variant(name, graph, metadata=of_target, real=real, say=say)
        facts = {"target": target, **variant.to_dict()}
        if variant.model is not None:
            found = parity(in_onnx_runtime(variant.model), findings.batches, precision, None)
            facts["parity"] = dataclasses.asdict(found)
            passed[precision] = target, variant.model
        findings.precisions[precision] = facts
    return passed


def _told(found: Parity) -> str:
    return f"values in [-1, 1] are off by at most {found.max_abs:.1e}, {found.mean_abs:.1e} on average"


def _check_options(version: str, truncation: float | None, targets: Sequence[str], precisions: Sequence[str]) -> None:
    if not VERSION_PATTERN.fullmatch(version):
        raise OptionError(f"--version {version!r}: letters, digits, '.', '_' and '-', as in 1.0")
    if truncation is not None and not 0 < truncation <= 2:
        raise OptionError(f"--truncation {truncation}: must be above 0 and at most 2")
    for option, given, allowed in (("--target", targets, TARGETS), ("--precision", precisions, tuple(PRECISIONS))):
        unknown = [name for name in given if name not in allowed]
        if unknown or not given or len(set(given)) < len(given):
            raise OptionError(
                f"{option} {','.join(given)!r}: some of {', '.join(allowed)}, each once, as in {allowed[0]}"
            )


def _provenance(checkpoint: Checkpoint) -> dict[str, str]:
    weights = (checkpoint.path / "generator_ema.safetensors").read_bytes()
    return {
        "checkpoint_meta_sha256": checkpoint.meta_sha256,
        "generator_ema_sha256": hashlib.sha256(weights).hexdigest(),
        "sngan_version": package_version("sngan"),
        "torch_version": torch.__version__,
        "onnx_version": onnx.__version__,
    }
