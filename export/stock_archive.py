"""A rival of `sngan bench serve`: the archive that TorchServe's own tutorials lead to, run by PyTorch.

A model file with the network's class, its state as `torch.save` writes it, and a handler derived from BaseHandler. The
way of somebody who has no exporter is taken everywhere: the averaged network runs eagerly, as the module that training
made, in evaluation mode. Its spectral norm, if it has one, stays in place: σ is stored with the averaged weights, so no
power iteration is left to do, but every normalised weight is divided anew in each run.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from export.errors import ExportError
from export.stock_model import FACTS_FILE
from sngan_train.checkpoint import Checkpoint, open_checkpoint

MODEL_NAME = "sngan_stock"


def write_stock_archive(run: Path, output: Path) -> Path:
    """Pack the averaged generator of `run` for TorchServe, without ONNX; gives `output`.

    The archive needs PyTorch and this project installed where it is served. It is for measurements: its handler checks
    nothing of what it is asked.

    Args:
        run: a run's folder, whose newest checkpoint is taken, or a checkpoint's.
        output: the `.mar` file to write; one that is there is replaced.

    Raises:
        sngan_train.errors.CheckpointError: no checkpoint, or a damaged one.
        ExportError: the archiver failed, in its own words, or `output` cannot be written; nothing was written.
    """
    checkpoint = open_checkpoint(run)
    # The archiver works in a folder of its own below the temporary one and empties it first: each call gets another.
    with tempfile.TemporaryDirectory(prefix="sngan-stock-") as private:
        archive = _packed(checkpoint, Path(private))
        partial = output.with_name(f".{output.name}.partial")
        try:
            output.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(archive, partial)
            partial.replace(output)
        except OSError as error:
            with contextlib.suppress(OSError):
                partial.unlink()
            raise ExportError(f"{output}: cannot be written ({error.strerror or error})") from error
    return output


def _packed(checkpoint: Checkpoint, folder: Path) -> Path:
    """The archive, made in `folder`."""
    state = checkpoint.load_generator_ema().state_dict()
    # The model file's class holds the generator under this name.
    torch.save({f"generator.{name}": tensor for name, tensor in state.items()}, folder / "weights.pt")
    facts = {"config": checkpoint.config.to_dict(), "num_classes": len(checkpoint.class_names)}
    (folder / FACTS_FILE).write_text(json.dumps(facts), encoding="utf-8")
    # Named, not imported: the handler's module needs TorchServe, and packing does not.
    here = Path(__file__).parent
    command = [
        sys.executable, "-m", "model_archiver.model_packaging",
        "--model-name", MODEL_NAME,
        "--version", "1.0",
        "--model-file", str(here / "stock_model.py"),
        "--serialized-file", str(folder / "weights.pt"),
        "--handler", str(here / "stock_handler.py"),
        "--extra-files", str(folder / FACTS_FILE),
        "--export-path", str(folder),
        "--force",
    ]  # fmt: skip
    environment = {**os.environ, "TMPDIR": str(folder)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    archive = folder / f"{MODEL_NAME}.mar"
    if done.returncode != 0 or not archive.is_file():
        reason = (done.stderr or done.stdout).strip().splitlines()
        raise ExportError(
            f"torch-model-archiver failed: {reason[-1] if reason else f'exit code {done.returncode}'}; "
            "is it installed? `pip install 'sngan[export]'`"
        )
    return archive
