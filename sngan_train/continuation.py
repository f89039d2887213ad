"""Going on with a run: from which checkpoint, and whether it is still the same run."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import torch

from sngan_train.checkpoint import Checkpoint, newest_usable, open_checkpoint
from sngan_train.config import RunConfig
from sngan_train.data import same_data
from sngan_train.distributed import Processes
from sngan_train.errors import CheckpointError, DataError

# What may differ between a run's checkpoint and the command that goes on with it.
CHANGEABLE = {
    ("training", key)
    for key in (
        "total_steps",
        "compile",
        "accumulation_steps",
        "log_every",
        "sample_every",
        "spectrum_every",
        "save_every",
        "keep_checkpoints",
        "evaluate_every",
        "evaluate_protocol",
    )
} | {("preset", ""), ("data", "source"), ("data", "residency")}  # the data itself is compared by its hash


def where_to_start(run_dir: Path, processes: Processes) -> tuple[Checkpoint | None, list[str]]:
    """The newest usable checkpoint as the first process finds it, for all; and why newer ones are none."""
    checkpoint, complaints = newest_usable(run_dir) if processes.is_first else (None, [])
    name = processes.from_first(checkpoint.path.name if checkpoint else "")
    if name and not processes.is_first:
        path = run_dir / "checkpoints" / name
        if not path.is_dir():
            raise CheckpointError(
                f"{path}: process 0 goes on from it, and on {socket.gethostname()} it is not there; the run's folder "
                "must be on a disk that all machines share"
            )
        checkpoint = open_checkpoint(path)
    return checkpoint, complaints


def common_settings(
    config: RunConfig, facts: dict[str, Any], device: torch.device, precision: torch.dtype
) -> dict[str, object]:
    """What processes that train together must have in common. The data may lie in different places."""
    sections = {name: value for name, value in config.to_dict().items() if isinstance(value, dict)}
    settings = {f"{section}.{key}": value for section, keys in sections.items() for key, value in keys.items()}
    del settings["data.source"], settings["data.residency"]
    hashes = facts.get("files_sha256") or facts["sha256"]
    return settings | {"data": hashes, "device": device.type, "precision": precision, "torch": torch.__version__}


def check_continuation(checkpoint: Checkpoint, config: RunConfig, facts: dict[str, Any]) -> None:
    """Refuse to go on with another config or other data than the run began with."""
    before, now = checkpoint.config.to_dict(), config.to_dict()
    for section, value in now.items():
        pairs = value.items() if isinstance(value, dict) else [("", value)]
        for key, wanted in pairs:
            had = before[section][key] if key else before[section]
            if had != wanted and (section, key) not in CHANGEABLE:
                name = f"{section}.{key}".rstrip(".")
                raise CheckpointError(
                    f"{checkpoint.path}: the run has {name} = {had}, the command asks for {wanted}; "
                    "use the same setting, or another folder with --run"
                )
    if list(checkpoint.class_names) != facts["class_names"]:
        raise DataError(_other_classes(checkpoint, facts["class_names"]))
    if not same_data(checkpoint.data, facts):
        raise DataError(
            f"{checkpoint.path}: the run learned from {checkpoint.data['origin']} "
            f"({checkpoint.data['num_images']:,} images), and the data given is another ({facts['origin']}, "
            f"{facts['num_images']:,} images); use the same data, or another folder with --run"
        )
    if checkpoint.step > config.training.total_steps:
        raise CheckpointError(
            f"{checkpoint.path}: already at step {checkpoint.step}, beyond training.total_steps = "
            f"{config.training.total_steps}"
        )


def _other_classes(checkpoint: Checkpoint, given: list[str]) -> str:
    before = list(checkpoint.class_names)
    gone = [name for name in before if name not in given][:3]
    new = [name for name in given if name not in before][:3]
    changes = [f"without {', '.join(gone)}" if gone else "", f"with {', '.join(new)} instead" if new else ""]
    detail = " and ".join(change for change in changes if change) or "in another order"
    return (
        f"{checkpoint.path}: the run has {len(before)} classes and the data given {len(given)}, {detail}; "
        "use the same data, or another folder with --run"
    )
