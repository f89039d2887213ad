"""What a checkpoint's averaged generator is, in the words of contract B."""

from __future__ import annotations

from typing import Any

from handlers.metadata import GeneratorMetadata
from sngan_train.checkpoint import Checkpoint
from sngan_train.metrics.record import saved_records

DATA_FACTS = ("origin", "num_images", "sha256", "files_sha256")


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
            "data": {key: checkpoint.data[key] for key in DATA_FACTS if key in checkpoint.data},
        },
        metrics=_metrics(checkpoint),
    )


def _metrics(checkpoint: Checkpoint) -> tuple[dict[str, Any], ...]:
    """The run's records of these very weights, oldest first, without when and where they were measured."""
    found = []
    for record in saved_records(checkpoint.path.parent.parent):
        subject = record.generator
        if subject.get("weights") == "ema" and subject.get("checkpoint_meta_sha256") == checkpoint.meta_sha256:
            found.append({key: value for key, value in record.to_dict().items() if key != "environment"})
    return tuple(found)
