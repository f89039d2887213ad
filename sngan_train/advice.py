"""What a person ought to know about a config before hours are spent on it."""

from __future__ import annotations

from collections.abc import Iterator

from sngan_train.config import RunConfig, TrainingConfig
from sngan_train.errors import ConfigError
from sngan_train.presets import PRESETS


def warnings_about(config: RunConfig, num_classes: int) -> Iterator[str]:
    """Lines about settings that are allowed and seldom meant."""
    batch_size, preset = config.training.batch_size, PRESETS.get(config.preset)
    if preset and preset.config.training.batch_size != batch_size:
        scores = "; its published scores are for the latter" if preset.published else ""
        yield (
            f"the effective batch is {batch_size}, the preset {config.preset} has "
            f"{preset.config.training.batch_size}{scores}"
        )
    discriminator = config.discriminator
    if config.training.loss == "wasserstein" and not discriminator.penalizes_gradient:
        if discriminator.normalization.startswith("spectral-norm"):
            yield (
                "the Wasserstein loss with spectral norm alone learns hardly anything (so the authors, and their "
                "users); use training.loss = hinge, or add discriminator.gradient_penalty = true"
            )
        elif discriminator.normalization == "none":
            yield "the Wasserstein loss without a bound on the discriminator diverges; set discriminator.normalization"
    if config.conditional and num_classes == 1:
        yield "there is one class only; discriminator.conditioning = none is the same model without its tables"


def check_division(training: TrainingConfig, world_size: int) -> None:
    """Raise ConfigError unless the batch divides into equal parts, one for each process and accumulation step."""
    parts = world_size * training.accumulation_steps
    if training.batch_size % parts:
        near = max(parts, round(training.batch_size / parts) * parts)
        raise ConfigError(
            f"training.batch_size = {training.batch_size} is the batch of all processes together and must be a "
            f"multiple of {world_size} processes x {training.accumulation_steps} accumulation steps = {parts}, "
            f"as {near} is"
        )
