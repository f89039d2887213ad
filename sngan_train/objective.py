"""What a run minimises, and how an update's images are divided: the config's choices as the steps need them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from sngan_train.config import RunConfig
from sngan_train.losses import LOSSES, Loss


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Objective:
    """Constant for a run. A weight of 0 means that the term is not there."""

    loss: Loss
    batch_size: int  # real images of a whole discriminator update
    generator_batch_size: int  # generated images of a whole generator update
    accumulation_steps: int
    joined: bool  # real and generated images go through the discriminator in one pass
    gradient_penalty: float
    orthonormal: float
    spectral: float
    clip_at: float
    augmentations: tuple[str, ...]

    @classmethod
    def of(cls, config: RunConfig) -> Objective:
        """The objective that `config` asks for."""
        training, regularization = config.training, config.regularization
        normalization = config.discriminator.normalization

        def strength(name: str, value: float) -> float:
            return value if normalization == name else 0.0

        return cls(
            loss=LOSSES[training.loss],
            batch_size=training.batch_size,
            generator_batch_size=training.batch_size * training.generator_batch_multiple,
            accumulation_steps=training.accumulation_steps,
            # Joined, batch normalisation would mix the statistics of real and generated images: another method.
            joined=normalization != "batch-norm",
            gradient_penalty=regularization.gradient_penalty if config.discriminator.penalizes_gradient else 0.0,
            orthonormal=strength("orthonormal", regularization.orthonormal),
            spectral=strength("spectral-norm-regularization", regularization.spectral),
            clip_at=strength("weight-clipping", regularization.clip_at),
            augmentations=training.augmentations,
        )

    def parts(self, num_images: int) -> Iterator[slice]:
        """Equal parts of an update's images on this process, one after the other."""
        size = num_images // self.accumulation_steps
        assert size * self.accumulation_steps == num_images
        for start in range(0, num_images, size):
            yield slice(start, start + size)
