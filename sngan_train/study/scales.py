"""How much of the paper's size a study has: images, width and steps are scaled, the method never is."""

from __future__ import annotations

import dataclasses

from sngan_train.config import RunConfig


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Scale:
    """What is scaled.

    Attributes:
        image_size: pixels at most; None leaves the paper's.
        width_divisor: of the networks' base widths.
        total_steps: generator updates; None leaves the paper's.
        seeds: runs of each cell.
        protocol, features: how it is evaluated.
    """

    name: str
    image_size: int | None
    width_divisor: int
    total_steps: int | None
    seeds: int
    protocol: str
    features: str

    @property
    def words(self) -> str:
        """For a report."""
        if self.image_size is None:
            return "the paper's image size, width and steps"
        return (
            f"images of at most {self.image_size} pixels, 1/{self.width_divisor} of the paper's width, "
            f"{self.total_steps:,} generator updates; methods, losses, rates, critic steps and batches as in the paper"
        )

    def apply(self, config: RunConfig) -> RunConfig:
        """`config` at this scale; where the learning rate falls from a step on, it does so at the same fraction."""
        if self.image_size is None or self.total_steps is None:
            return config
        optimizer = config.optimizer
        decay_start_step = round(optimizer.decay_start_step * self.total_steps / config.training.total_steps)
        return config.override(
            {
                "data": {"image_size": min(config.data.image_size, self.image_size)},
                "generator": {"channels": max(1, config.generator.channels // self.width_divisor)},
                "discriminator": {"channels": max(1, config.discriminator.channels // self.width_divisor)},
                "optimizer": {"decay_start_step": decay_start_step},
                "training": {"total_steps": self.total_steps, "compile": False},
            }
        )


SCALES = {
    scale.name: scale
    for scale in (
        Scale(
            name="tiny",
            image_size=16,
            width_divisor=4,
            total_steps=1_000,
            seeds=2,
            protocol="quick",
            features="efficientnet-lite0",
        ),
        Scale(
            name="small",
            image_size=32,
            width_divisor=2,
            total_steps=10_000,
            seeds=3,
            protocol="quick",
            features="efficientnet-lite0",
        ),
        Scale(
            name="paper",
            image_size=None,
            width_divisor=1,
            total_steps=None,
            seeds=3,
            protocol="paper",
            features="inception",
        ),
    )
}
