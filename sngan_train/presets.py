"""Complete runs by name. A preset is data: everything it sets can be overridden and is stored with the run."""

from __future__ import annotations

import dataclasses
import difflib

from sngan_train.config import (
    DataConfig,
    DiscriminatorConfig,
    GeneratorConfig,
    OptimizerConfig,
    RunConfig,
    SpectralNormConfig,
    TrainingConfig,
)
from sngan_train.errors import ConfigError


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Preset:
    """A run's config and what a person choosing it wants to know."""

    summary: str
    config: RunConfig


PRESETS: dict[str, Preset] = {
    "digits": Preset(
        summary="1,797 handwritten digits that ship with scikit-learn, 16 pixels; a minute or two on a laptop",
        config=RunConfig(
            preset="digits",
            data=DataConfig(source="digits", image_size=16, channels=1),
            generator=GeneratorConfig(channels=64),
            discriminator=DiscriminatorConfig(channels=64),
            # Above the paper's 1: with so few images and steps, a bound of 1 leaves the digits of a class more alike
            # (docs/results/README.md has the comparison).
            spectral_norm=SpectralNormConfig(lipschitz=1.6),
            optimizer=OptimizerConfig(
                generator_learning_rate=1e-3, discriminator_learning_rate=4e-4, critic_steps=2, decay_start=0.7
            ),
            training=TrainingConfig(
                total_steps=500, generator_batch_multiple=1, log_every=10, sample_every=100, save_every=100
            ),
        ),
    ),
    "fashion-mnist": Preset(
        summary="70,000 photographs of clothes, 32 pixels, grey; an hour or two on a CPU",
        config=RunConfig(
            preset="fashion-mnist",
            data=DataConfig(source="fashion-mnist", image_size=32, channels=1),
            generator=GeneratorConfig(channels=64),
            discriminator=DiscriminatorConfig(channels=64),
            optimizer=OptimizerConfig(discriminator_learning_rate=4e-4, critic_steps=1, decay_start=0.5),
            training=TrainingConfig(total_steps=10_000, generator_batch_multiple=1, sample_every=500, save_every=500),
        ),
    ),
    "cifar10": Preset(
        summary="CIFAR-10 with the networks and the loop of the paper's ResNet, conditional; for a GPU",
        config=RunConfig(
            preset="cifar10",
            data=DataConfig(source="cifar10", image_size=32, channels=3),
            optimizer=OptimizerConfig(critic_steps=5, decay_start=0.0),
            training=TrainingConfig(total_steps=50_000),
        ),
    ),
}


def find_preset(name: str) -> RunConfig:
    """The config of preset `name`; raises ConfigError with the nearest name."""
    if name in PRESETS:
        return PRESETS[name].config
    near = difflib.get_close_matches(name, PRESETS, n=1)
    advice = f"did you mean {near[0]}?" if near else "see `sngan presets`"
    raise ConfigError(f"unknown preset {name!r}; {advice} (known: {', '.join(PRESETS)})")
