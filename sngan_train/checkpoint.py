"""Contract A on disk: `RUN/checkpoints/step-000100/`, written whole or not at all.

meta.json                       format, step, config, data facts, versions, SHA-256 of the other files
generator.safetensors           raw weights, u and v, batch-norm statistics
generator_ema.safetensors       averaged raw weights and statistics, exact σ of each normalised layer
discriminator.safetensors
training_state.pt               the optimisers; only resuming reads it, as tensors and plain values
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sngan_train.config import RunConfig
from sngan_train.errors import CheckpointError, ConfigError
from sngan_train.models import Discriminator, Generator, build_discriminator, build_generator
from sngan_train.models.spectral_norm import SigmaSource
from sngan_train.state import TrainState

FORMAT = "sngan-checkpoint/1"
FOLDER_NAME = re.compile(r"step-(\d+)")
PARTIAL_PREFIX = ".writing-"
TENSOR_FILES = ("generator", "generator_ema", "discriminator")
TRAINING_STATE = "training_state.pt"
BEST_FILE = "best.json"  # in the run's folder: the step of the best checkpoint by evaluation


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """A checkpoint folder whose files are present and unaltered."""

    path: Path
    step: int
    config: RunConfig
    data: Mapping[str, Any]
    meta_sha256: str

    @property
    def class_names(self) -> tuple[str, ...]:
        """In the order of the labels."""
        return tuple(self.data["class_names"])

    def load_generator_ema(self) -> Generator:
        """The averaged generator, un-folded, with its stored σ, in evaluation mode: the function that is served."""
        generator = build_generator(self.config, len(self.class_names), source=SigmaSource.FIXED)
        _load(generator, self.path / "generator_ema.safetensors")
        return generator.eval().requires_grad_(False)

    def load_generator(self) -> Generator:
        """The generator that was trained, with its u and v, in evaluation mode."""
        generator = build_generator(self.config, len(self.class_names), source=SigmaSource.POWER_ITERATION)
        _load(generator, self.path / "generator.safetensors")
        return generator.eval().requires_grad_(False)

    def load_discriminator(self) -> Discriminator:
        """The discriminator, with its u and v, in evaluation mode."""
        discriminator = build_discriminator(self.config, len(self.class_names))
        _load(discriminator, self.path / "discriminator.safetensors")
        return discriminator.eval().requires_grad_(False)


def write_checkpoint(
    run_dir: Path, state: TrainState, config: RunConfig, data_facts: Mapping[str, Any], code_version: str
) -> Path:
    """Write the checkpoint of `state.step`, drop those beyond `keep_checkpoints`; gives its folder."""
    state.finish_average()
    parent = run_dir / "checkpoints"
    final = parent / f"step-{state.step:06d}"
    partial = parent / f"{PARTIAL_PREFIX}{final.name}"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        for name in TENSOR_FILES:
            tensors = getattr(state, name).state_dict()
            save_file({key: value.contiguous() for key, value in tensors.items()}, partial / f"{name}.safetensors")
        optimizers = {
            "generator_optimizer": state.generator_optimizer.state_dict(),
            "discriminator_optimizer": state.discriminator_optimizer.state_dict(),
        }
        torch.save(optimizers, partial / TRAINING_STATE)
        files = sorted(path for path in partial.iterdir())
        meta = {
            "format": FORMAT,
            "step": state.step,
            "config": config.to_dict(),
            "data": dict(data_facts),
            "code_version": code_version,
            "torch_version": torch.__version__,
            "sha256": {path.name: _sha256(path) for path in files},
        }
        (partial / "meta.json").write_text(json.dumps(meta, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        for path in [*partial.iterdir(), partial]:
            _flush(path)
        if final.exists():  # a damaged one that resuming passed over
            shutil.rmtree(final)
        partial.rename(final)
        _flush(parent)
    except (OSError, SafetensorError, RuntimeError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        free = shutil.disk_usage(run_dir).free / 2**20
        raise CheckpointError(
            f"{final}: could not be written ({error}); {free:.0f} MiB are free there; earlier checkpoints are whole"
        ) from error
    best = best_checkpoint(run_dir)
    for old in list_checkpoints(run_dir)[: -config.training.keep_checkpoints]:
        if old != best:
            shutil.rmtree(old)
    return final


def mark_best(run_dir: Path, step: int) -> None:
    """Have the checkpoint of `step` kept from now on, instead of an earlier best."""
    partial = run_dir / f".{BEST_FILE}.partial"
    partial.write_text(json.dumps({"step": step}) + "\n", encoding="utf-8")
    partial.replace(run_dir / BEST_FILE)


def best_checkpoint(run_dir: Path) -> Path | None:
    """The checkpoint that was marked as the best, if there is one and it is there."""
    try:
        step = int(json.loads((run_dir / BEST_FILE).read_text(encoding="utf-8"))["step"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    path = run_dir / "checkpoints" / f"step-{step:06d}"
    return path if path.is_dir() else None


def list_checkpoints(run_dir: Path) -> list[Path]:
    """The checkpoint folders of a run, oldest first, unread."""
    folders = [path for path in (run_dir / "checkpoints").glob("step-*") if FOLDER_NAME.fullmatch(path.name)]
    return sorted(folders, key=lambda path: int(path.name.partition("-")[2]))


def open_checkpoint(path: Path) -> Checkpoint:
    """Open a checkpoint folder, or the newest one of a run folder.

    Raises:
        CheckpointError: none there, a file missing or altered, or a format of another version.
    """
    if not path.is_dir():
        raise CheckpointError(f"{path}: no such folder; give a run folder, as in runs/digits")
    if not (path / "meta.json").is_file() and not FOLDER_NAME.fullmatch(path.name):
        checkpoints = list_checkpoints(path)
        if not checkpoints:
            raise CheckpointError(f"{path}: no checkpoint in it yet; `sngan train --run {path}` writes them")
        path = checkpoints[-1]
    try:
        text = (path / "meta.json").read_bytes()
        meta = json.loads(text)
        if meta["format"] != FORMAT:
            raise CheckpointError(
                f"{path}: format {meta['format']!r} is not {FORMAT!r}; use the sngan version that wrote it"
            )
        for name, expected in meta["sha256"].items():
            if _sha256(path / name) != expected:
                raise CheckpointError(f"{path}: {name} is damaged (its SHA-256 is not the one recorded)")
        missing = [name for name in TENSOR_FILES if f"{name}.safetensors" not in meta["sha256"]]
        if missing:
            raise CheckpointError(f"{path}: meta.json names no {missing[0]}.safetensors")
        return Checkpoint(
            path=path,
            step=int(meta["step"]),
            config=RunConfig.from_dict(meta["config"]),
            data=meta["data"],
            meta_sha256=hashlib.sha256(text).hexdigest(),
        )
    except ConfigError as error:
        raise CheckpointError(f"{path}: its config cannot be read ({error})") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path}: damaged or incomplete checkpoint ({error!r})") from error


def newest_usable(run_dir: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint that opens, and why newer ones did not."""
    complaints: list[str] = []
    for path in reversed(list_checkpoints(run_dir)):
        try:
            return open_checkpoint(path), complaints
        except CheckpointError as error:
            complaints.append(str(error))
    return None, complaints


def restore(state: TrainState, checkpoint: Checkpoint) -> None:
    """Put everything that a checkpoint holds into `state`."""
    for name in TENSOR_FILES:
        _load(getattr(state, name), checkpoint.path / f"{name}.safetensors")
    try:
        optimizers = torch.load(checkpoint.path / TRAINING_STATE, map_location=state.device, weights_only=True)
        state.generator_optimizer.load_state_dict(optimizers["generator_optimizer"])
        state.discriminator_optimizer.load_state_dict(optimizers["discriminator_optimizer"])
    except Exception as error:  # torch.load raises what its unpickler does
        raise CheckpointError(f"{checkpoint.path}: {TRAINING_STATE} cannot be read ({error})") from error
    state.step = checkpoint.step


def remove_partial(run_dir: Path) -> None:
    """Sweep away what a killed process left half-written."""
    for partial in (run_dir / "checkpoints").glob(f"{PARTIAL_PREFIX}*"):
        shutil.rmtree(partial, ignore_errors=True)


def _load(network: nn.Module, path: Path) -> None:
    try:
        tensors: dict[str, Tensor] = load_file(path)
        network.load_state_dict(tensors, strict=True)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise CheckpointError(f"{path}: does not fit the network of its own config ({error})") from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    """Have the disk keep `path` before what follows, so that a power cut finds the folder whole or absent."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
