"""What TorchServe's worker imports as torch where torch is not installed.

The worker asks of each answer whether it is a `torch.Tensor`, and ours are bytes; that is all it wants torch for.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

SOURCE = '''"""Stands in for torch: TorchServe's worker only asks whether an answer is a Tensor."""

__version__ = "0.0.0"


class Tensor:
    """A class without instances."""
'''


def is_needed() -> bool:
    """Whether the worker, which runs our Python, would find no torch."""
    return importlib.util.find_spec("torch") is None


def write(folder: Path) -> None:
    """Put a module `torch` into the existing `folder`, which must come on the worker's path after what matters."""
    (folder / "torch.py").write_text(SOURCE, encoding="utf-8")
