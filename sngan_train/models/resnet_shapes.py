"""How many blocks the ResNets have at each image size, and how wide they are.

Widths are multiples of the networks' base width. Sources: Miyato et al. 2018, tables 4 (32 pixels), 5 (48) and 6 (128);
the official code for 64; 16 pixels is ours, the 32-pixel networks with one generator block less.
"""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ResNetShape:
    """Both networks at one image size."""

    bottom_size: int  # pixels a side of the generator's first feature map
    bottom_width: int
    generator_widths: tuple[int, ...]  # one a block; each doubles the resolution
    discriminator_widths: tuple[int, ...]  # one a block
    num_downsampling: int  # the first so many discriminator blocks halve the resolution
    head_bias: bool  # whether the discriminator's last linear layer has a bias
    concat_after: int  # the concat discriminator joins the class to the output of this many blocks


RESNET_SHAPES = {
    16: ResNetShape(
        bottom_size=4,
        bottom_width=1,
        generator_widths=(1, 1),
        discriminator_widths=(1, 1, 1, 1),
        num_downsampling=2,
        head_bias=False,
        concat_after=2,
    ),
    32: ResNetShape(
        bottom_size=4,
        bottom_width=1,
        generator_widths=(1, 1, 1),
        discriminator_widths=(1, 1, 1, 1),
        num_downsampling=2,
        head_bias=False,
        concat_after=2,
    ),
    48: ResNetShape(
        bottom_size=6,
        bottom_width=8,
        generator_widths=(4, 2, 1),
        discriminator_widths=(1, 2, 4, 8, 16),
        num_downsampling=4,
        head_bias=False,  # not in the official code; the paper's readers report none
        concat_after=3,
    ),
    64: ResNetShape(
        bottom_size=4,
        bottom_width=16,
        generator_widths=(8, 4, 2, 1),
        discriminator_widths=(1, 2, 4, 8, 16),
        num_downsampling=5,
        head_bias=True,
        concat_after=3,
    ),
    128: ResNetShape(
        bottom_size=4,
        bottom_width=16,
        generator_widths=(16, 8, 4, 2, 1),
        discriminator_widths=(1, 2, 4, 8, 16, 16),
        num_downsampling=5,
        head_bias=True,
        concat_after=3,
    ),
}
