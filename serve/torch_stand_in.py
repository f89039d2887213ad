"""What TorchServe's worker imports as torch.

The worker asks of each answer whether it is a `torch.Tensor`, and ours are bytes; that is all it wants torch for. The
real one would cost half a gigabyte and seconds in every worker.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

SOURCE = '''"""Stands in for torch: TorchServe's worker only asks whether an answer is a Tensor."""

__version__ = "0.0.0"


class Tensor:
    """A class without instances."""
'''


def is_used(provider: str) -> bool:
    """Whether it takes torch's place in the workers.

    Not on a GPU where torch is installed: ONNX Runtime takes a `torch` that is loaded, and is built for its own
    version of CUDA, for a sign that CUDA's libraries are loaded too.

    Args:
        provider: the execution provider that will most likely run, not "auto".
    """
    return provider not in ("cuda", "tensorrt") or importlib.util.find_spec("torch") is None


def write(folder: Path) -> None:
    """Put a module `torch` into the existing `folder`, which must come on the worker's path before torch."""
    (folder / "torch.py").write_text(SOURCE, encoding="utf-8")
