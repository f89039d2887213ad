"""What the benchmarks are given: an export's folder, or a run, which is then exported for as long as they last."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from export.errors import ExportError, OptionError


@contextmanager
def export_folder(source: Path, precisions: Sequence[str], say: Callable[[str], None]) -> Iterator[Path]:
    """`source` itself if it holds generator files, else an export of it for every target that is gone afterwards.

    Args:
        source: a folder.
        precisions: of the export, as `sngan export --precision` names them.
        say: is told the progress.

    Raises:
        OptionError: `source` is no folder.
        ExportError: a run that cannot be exported, or not here.
    """
    if not source.is_dir():
        raise OptionError(f"{source}: no such folder; give what `sngan export` wrote, or a run's folder")
    if any(source.glob("*.onnx")):
        yield source
        return
    try:
        from export.pipeline import export_run
        from export.targets import TARGETS
    except ModuleNotFoundError as error:
        raise ExportError(
            f"{source} holds no .onnx file, and exporting a run needs {error.name}: `pip install 'sngan[export,cpu]'`"
        ) from error
    with tempfile.TemporaryDirectory(prefix="sngan-bench-") as private:
        folder = Path(private) / "export"
        export_run(source, folder, targets=TARGETS, precisions=tuple(precisions), say=say)
        yield folder
