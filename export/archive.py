"""Contract C: `sngan.mar`, built by torch-model-archiver, then made reproducible and sealed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from export.errors import ExportError
from export.seal import ARCHIVE_SEAL, UNSEALED, seal

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


def write_archive(generators: Sequence[Path], version: str, output: Path) -> None:
    """Pack `generators` (ONNX files, the one to serve first) with the handler to `output`.

    Equal inputs give equal bytes.

    Raises ExportError with the archiver's own words if it fails.
    """
    # The archiver works in a folder named after the model below the system's temporary folder and empties it
    # first: two exports at once would collide, so each gets a temporary folder of its own.
    with tempfile.TemporaryDirectory(prefix="sngan-archive-") as private:
        folder = Path(private)
        _stage_handlers(folder / "extra" / "handlers")
        for other in generators[1:]:
            shutil.copyfile(other, folder / "extra" / other.name)
        config = folder / "model-config.yaml"
        config.write_text(MODEL_CONFIG, encoding="utf-8")
        command = [
            sys.executable, "-m", "model_archiver.model_packaging",
            "--model-name", MODEL_NAME,
            "--version", version,
            "--serialized-file", str(generators[0]),
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
        rebuilt = _reproducible(archive, folder / "reproducible.mar")
        output.write_bytes(seal(rebuilt.read_bytes(), ARCHIVE_SEAL))


def _stage_handlers(folder: Path) -> None:
    """The package `handlers` as it is imported here, sources only."""
    source = Path(str(resources.files("handlers")))
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("__pycache__", "py.typed", "*.pyc"))


def _reproducible(archive: Path, rebuilt: Path) -> Path:
    """Copy the archive with its entries sorted, every time of creation fixed, and room for its seal.

    Nothing is compressed: what deflate makes of a file depends on the zlib that Python was built with, and trained
    weights hardly shrink. The seal is the archive's comment, its last bytes, which every reader of zip files skips.
    """
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(rebuilt, "w", zipfile.ZIP_STORED) as target:
        target.comment = json.dumps({ARCHIVE_SEAL: UNSEALED}).encode()
        for name in sorted(source.namelist()):
            if name.endswith("/"):
                continue
            content = source.read(name)
            if name == MANIFEST:
                manifest = json.loads(content)
                manifest["createdOn"] = FIXED_CREATION_TIME
                content = (json.dumps(manifest, indent=2, sort_keys=True) + "\n").encode()
            entry = zipfile.ZipInfo(name, FIXED_ZIP_TIME)
            entry.create_system = 3  # Unix, on any system: the permissions are written in its way
            entry.external_attr = 0o644 << 16
            target.writestr(entry, content)
    return rebuilt
