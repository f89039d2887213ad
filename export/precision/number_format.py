"""Which 8-bit numbers: what a processor multiplies without losing any."""

from __future__ import annotations

import dataclasses
import platform

import numpy as np

ARM = ("aarch64", "arm64")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class NumberFormat:
    """Integers for activations (with a zero point) and weights (without).

    Attributes:
        name: as in reports.
        activation: uint8 or int8; the same 256 steps, 128 apart.
        largest_weight: weights are −largest … largest, in int8.
    """

    name: str
    activation: type[np.uint8] | type[np.int8]
    largest_weight: int

    @property
    def lowest(self) -> int:
        """The smallest activation."""
        return int(np.iinfo(self.activation).min)

    @property
    def highest(self) -> int:
        """The largest activation."""
        return int(np.iinfo(self.activation).max)


# x86 without VNNI adds two products u8 · s8 in 16 bits and cuts the sum off: 2 · 255 · 64 is the most that fits.
U8_S7 = NumberFormat(name="activations uint8, weights int8 in 7 bits", activation=np.uint8, largest_weight=64)
S8_S8 = NumberFormat(name="activations int8, weights int8", activation=np.int8, largest_weight=127)


def numbers_of_this_machine() -> NumberFormat:
    """What its ONNX Runtime is fastest and right with.

    On x86 that is uint8 and 7-bit weights even where VNNI would take 8: as fast, and a file that is right on every x86
    processor, wherever it was exported.
    """
    return S8_S8 if platform.machine().lower() in ARM else U8_S7
