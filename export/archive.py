"""Contract C: `sngan.mar`, built by torch-model-archiver and then made reproducible."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from importlib import resources
from pathlib import Path

from export.errors import ExportError

MODEL_NAME = "sngan"
ARCHIVE_NAME = f"{MODEL_NAME}.mar"
HANDLER_FILE = "sngan_handler.py"
MANIFEST = "MAR-INF/MANIFEST.json"
FIXED_ZIP_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest that the format can say
FIXED_CREATION_TIME = "01/01/1980 00:00:00"

# Values must be whole numbers and booleans: TorchServe ignores anything else with a warning. `sngan serve`
# replaces this file by one made from its own options; a plain TorchServe uses it as it is.
MODEL_CONFIG = """\
minWorkers: 1
maxWorkers: 1
batchSize: 1
maxBatchDelay: 1
responseTimeout: 120
startupTimeout: 60
deviceType: "cpu"
jobQueueSize: 100
handler:
  provider: auto
"""


def write_archive(generator: Path, version: str, output: Path) -> None:
    """Pack `generator` (an ONNX file) with the handler to `output`; equal inputs give equal bytes.

    Raises ExportError with the archiver's own words if it fails.
    """
    # The archiver works in a folder named after the model below the system's temporary folder and empties it
    # first: two exports at once would collide, so each gets a temporary folder of its own.
    with tempfile.TemporaryDirectory(prefix="sngan-archive-") as private:
        folder = Path(private)
        _stage_handlers(folder / "extra" / "handlers")
        config = folder / "model-config.yaml"
        config.write_text(MODEL_CONFIG, encoding="utf-8")
        command = [
            sys.executable, "-m", "model_archiver.model_packaging",
            "--model-name", MODEL_NAME,
            "--version", version,
            "--serialized-file", str(generator),
            "--handler", str(folder / "extra" / "handlers" / HANDLER_FILE),
            "--extra-files", str(folder / "extra"),
            "--config-file", str(config),
            "--export-path", str(folder),
            "--force",
        ]  # fmt: skip
        environment = {**os.environ, "TMPDIR": str(folder)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        archive = folder / ARCHIVE_NAME
        if done.returncode != 0 or not archive.is_file():
            reason = (done.stderr or done.stdout).strip().splitlines()
            raise ExportError(
                f"torch-model-archiver failed: {reason[-1] if reason else f'exit code {done.returncode}'}; "
                "is it installed? `pip install 'sngan[export]'`"
            )
        _make_reproducible(archive, output)


def _stage_handlers(folder: Path) -> None:
    """The package `handlers` as it is imported here, sources only."""
    source = Path(str(resources.files("handlers")))
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("__pycache__", "py.typed", "*.pyc"))


def _make_reproducible(archive: Path, output: Path) -> None:
    """Copy the archive with its entries sorted and every time of creation fixed."""
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(output, "w", zipfile.ZIP_DEFLATED) as target:
        for name in sorted(source.namelist()):
            if name.endswith("/"):
                continue
            content = source.read(name)
            if name == MANIFEST:
                manifest = json.loads(content)
                manifest["createdOn"] = FIXED_CREATION_TIME
                content = (json.dumps(manifest, indent=2, sort_keys=True) + "\n").encode()
            entry = zipfile.ZipInfo(name, FIXED_ZIP_TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            target.writestr(entry, content)
