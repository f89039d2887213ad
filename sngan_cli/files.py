"""Write a file whole or not at all."""

from __future__ import annotations

from pathlib import Path

from sngan_cli.errors import CommandError


def write_whole(content: bytes, path: Path) -> None:
    """Write `content` beside `path`, then rename; raises CommandError with the reason, leaving nothing behind."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.write_bytes(content)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise CommandError(f"{path}: cannot be written ({error.strerror})") from error
