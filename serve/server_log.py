"""What TorchServe prints: which lines are worth showing, and why a worker did not load the model."""

from __future__ import annotations

import re
from collections.abc import Sequence

# Java's and TorchServe's remarks at every start on a machine where all is well.
HARMLESS = (
    "sun.reflect.Reflection.getCallerClass is not supported",
    "nvidia-smi not available or failed",
    "Model server started.",
)
LOAD_FAILED = ("Backend worker process died", "Load model failed:", "Auto recovery failed")
LAST_LINES = 15

# "2026-01-31T12:00:00,000 INFO  MODEL_LOG text", as `config.log4j2_xml` lays it out
_LOG_LINE = re.compile(r"^\S+ (?P<level>[A-Z]+) +(?P<logger>\S+) ?(?P<text>.*)$")
# A stranger's bytes can make TorchServe print forty such lines.
_STACK = re.compile(r"^\s+(at |\.\.\. \d+ more)")
_EXCEPTION = re.compile(r"^(?P<name>[A-Za-z_][\w.]*(Error|Exception|Interrupt|Exit)): (?P<text>.+)$")


def is_shown(line: str) -> bool:
    """Whether the user sees `line` while the server runs: warnings and worse, what is no log line, no Java stack."""
    match = _LOG_LINE.match(line)
    if match is not None and match["level"] in ("INFO", "DEBUG", "TRACE"):
        return False
    return bool(line.strip()) and not _STACK.match(line) and not any(remark in line for remark in HARMLESS)


def says_load_failed(line: str) -> bool:
    """Whether `line` is TorchServe's word that a worker did not load the model."""
    return any(mark in line for mark in LOAD_FAILED)


def failure_reason(lines: Sequence[str]) -> str | None:
    """The cause in one line: our handler's own words, else the first exception; None while neither is there.

    The first, because TorchServe tries another way after an ImportError and reports that one's failure last.
    """
    exceptions = []
    for line in lines:
        match = _LOG_LINE.match(line)
        exception = _EXCEPTION.match(match["text"] if match is not None else line)
        if exception is None:
            continue
        if exception["text"].startswith("sngan: "):
            return exception["text"].removeprefix("sngan: ")
        exceptions.append(exception.group())
    return exceptions[0] if exceptions else None


def last_lines(lines: Sequence[str]) -> str:
    """The end of the log, for an error that nothing better can be said about."""
    return "\n".join(["the last lines of its log:", *lines[-LAST_LINES:]]) if lines else "it printed nothing"
