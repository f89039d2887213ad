"""The environment of java and its workers, made of ours: without secrets, and with the archive's code first."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from serve import torch_stand_in

# Variables whose names say that they hold something secret: a worker runs the archive's code and needs none of them.
SECRET = re.compile(
    r"TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIAL|(API|ACCESS|PRIVATE|ENCRYPTION)_?KEY|(^|_)AUTH($|_)"
    r"|CONNECTION_STRING|DATABASE_URL|(^|_)DSN($|_)",
    re.IGNORECASE,
)


def java_environment(environment: Mapping[str, str], folder: Path, provider: str) -> dict[str, str]:
    """What java is started with.

    TS_… variables would override the configuration. A worker runs in its model's folder, which therefore comes
    first on its path as ".": so the package `handlers` is the archive's and no other, of a reloaded archive too.

    Args:
        environment: ours.
        folder: the server's private folder.
        provider: the execution provider that will most likely run, not "auto".
    """
    result = {
        name: value for name, value in environment.items() if not name.startswith("TS_") and SECRET.search(name) is None
    }
    paths = [".", environment.get("PYTHONPATH", "")]
    if torch_stand_in.is_used(provider):
        paths.append(str(folder / "stand_in"))
    result["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    result["TEMP"] = result["TMPDIR"] = str(folder / "temp")
    result["LOG_LOCATION"] = result["METRICS_LOCATION"] = str(folder / "logs")
    return result
