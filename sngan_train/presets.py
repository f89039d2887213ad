"""Complete runs by name. A preset is data: everything it sets can be overridden and is stored with the run.

The paper's own are in `paper_presets`.
"""

from __future__ import annotations

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
from sngan_train.paper_presets import paper_presets
from sngan_train.preset import Preset

OURS: dict[str, Preset] = {
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
                total_steps=500,
                generator_batch_multiple=1,
                log_every=10,
                sample_every=100,
                spectrum_every=250,
                save_every=100,
            ),
        ),
    ),
    "fashion-mnist": Preset(
        summary="70,000 photographs of clothes, 32 pixels, grey; an hour on a CPU",
        config=RunConfig(
            preset="fashion-mnist",
            data=DataConfig(source="fashion-mnist", image_size=32, channels=1),
            generator=GeneratorConfig(channels=64),
            discriminator=DiscriminatorConfig(channels=64),
            optimizer=OptimizerConfig(discriminator_learning_rate=4e-4, critic_steps=1, decay_start=0.5),
            training=TrainingConfig(
                total_steps=6_000, generator_batch_multiple=1, compile=True, sample_every=500, save_every=500
            ),
        ),
    ),
    "cifar10": Preset(
        summary="CIFAR-10 with the networks and the loop of the paper's ResNet, conditional; for a GPU",
        config=RunConfig(
            preset="cifar10",
            data=DataConfig(source="cifar10", image_size=32, channels=3),
            optimizer=OptimizerConfig(critic_steps=5, decay_start=0.0),
            training=TrainingConfig(total_steps=50_000, compile=True),
        ),
    ),
    "cifar10-small": Preset(
        summary="CIFAR-10 with narrower networks and one critic step; an hour or more on a CPU",
        config=RunConfig(
            preset="cifar10-small",
            data=DataConfig(source="cifar10", image_size=32, channels=3, flip=True),
            generator=GeneratorConfig(channels=128),
            discriminator=DiscriminatorConfig(channels=96),
            optimizer=OptimizerConfig(critic_steps=2, decay_start=0.5),
            training=TrainingConfig(total_steps=6_000, generator_batch_multiple=1, compile=True),
        ),
    ),
    "custom-64": Preset(
        summary="your folder of images at 64 pixels: --data folder:PATH; a GPU, or a night on a CPU",
        config=RunConfig(
            preset="custom-64",
            data=DataConfig(source="folder:images", image_size=64, channels=3, flip=True),
            generator=GeneratorConfig(channels=32),
            discriminator=DiscriminatorConfig(channels=32),
            optimizer=OptimizerConfig(discriminator_learning_rate=4e-4, critic_steps=1, decay_start=0.5),
            training=TrainingConfig(total_steps=20_000, generator_batch_multiple=1, compile=True),
        ),
    ),
    "custom-128": Preset(
        summary="your folder of images at 128 pixels: --data folder:PATH; for a GPU",
        config=RunConfig(
            preset="custom-128",
            data=DataConfig(source="folder:images", image_size=128, channels=3, flip=True),
            generator=GeneratorConfig(channels=64),
            discriminator=DiscriminatorConfig(channels=64),
            optimizer=OptimizerConfig(discriminator_learning_rate=4e-4, critic_steps=1, decay_start=0.5),
            training=TrainingConfig(total_steps=50_000, generator_batch_multiple=1, compile=True),
        ),
    ),
}
PRESETS: dict[str, Preset] = OURS | paper_presets()


def find_preset(name: str) -> RunConfig:
    """The config of preset `name`; raises ConfigError with the nearest name."""
    if name in PRESETS:
        return PRESETS[name].config
    near = difflib.get_close_matches(name, PRESETS, n=1)
    advice = f"did you mean {near[0]}?" if near else "see `sngan presets`"
    raise ConfigError(f"unknown preset {name!r}; {advice} (all: `sngan presets --all`)")
