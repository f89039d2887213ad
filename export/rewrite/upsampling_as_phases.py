"""Nearest ×2 and a 3×3 convolution become four 2×2 convolutions of the small image, one for each output phase.

Each output pixel sees 2×2 different pixels (`upsampled_convolution`); the taps that meet one pixel are added up once,
here. 16 products an input pixel, input and output channel, instead of 36; the four kernels hold 16/9 of the weights.
"""

from __future__ import annotations

from export.rewrite.building import Replacement
from export.rewrite.phases import phase_convolutions
from export.rewrite.rewriting import Rewrite
from export.rewrite.upsampled_convolution import UpsampledConvolution, applies, phase_kernels


def rewrite(match: UpsampledConvolution) -> None:
    """Four convolutions, then their pixels interleaved."""
    new = Replacement(match.convolution)
    new.finish(phase_convolutions(new, match.x, phase_kernels(match.weight), match.bias))


UPSAMPLING_AS_PHASES = Rewrite(name="upsampling_as_phases", applies=applies, rewrite=rewrite)
