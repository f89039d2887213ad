"""Show a small picture in the terminal, two pixels a character."""

from __future__ import annotations

import shutil
import sys

import numpy as np
from numpy.typing import NDArray

UPPER_HALF = "▀"


def show(pixels: NDArray[np.uint8]) -> None:
    """Draw uint8 (H, W, C), C 1 or 3, on stderr if that is a terminal wide enough; otherwise do nothing."""
    if not sys.stderr.isatty() or pixels.shape[1] > shutil.get_terminal_size().columns:
        return
    colour = np.broadcast_to(pixels, (*pixels.shape[:2], 3))
    if len(colour) % 2:
        colour = np.concatenate([colour, np.zeros_like(colour[:1])])
    lines = []
    for upper, lower in zip(colour[0::2].tolist(), colour[1::2].tolist(), strict=True):
        cells = [
            f"\x1b[38;2;{a[0]};{a[1]};{a[2]}m\x1b[48;2;{b[0]};{b[1]};{b[2]}m{UPPER_HALF}"
            for a, b in zip(upper, lower, strict=True)
        ]
        lines.append("".join(cells) + "\x1b[0m")
    print("\n".join(lines), file=sys.stderr)
