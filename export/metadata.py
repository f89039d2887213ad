"""What a checkpoint's averaged generator is, in the words of contract B."""

from __future__ import annotations

from handlers.metadata import GeneratorMetadata
from sngan_train.checkpoint import Checkpoint


def generator_metadata(checkpoint: Checkpoint, version: str) -> GeneratorMetadata:
    """The facts that hold before anything is written: no truncation, no provenance, no verification yet.

    An unconditional generator has no class names, though its data may have had some.
    """
    config = checkpoint.config
    return GeneratorMetadata(
        name=config.preset,
        version=version,
        latent_dim=config.generator.latent_dim,
        latent_distribution=config.generator.latent_distribution,
        class_names=checkpoint.class_names if config.conditional else (),
        channels=config.data.channels,
        height=config.data.image_size,
        width=config.data.image_size,
        color_mode="L" if config.data.channels == 1 else "RGB",
        training={
            "preset": config.preset,
            "step": checkpoint.step,
            "weights": "exponential moving average",
            "data": {key: checkpoint.data[key] for key in ("origin", "num_images", "sha256")},
        },
    )
