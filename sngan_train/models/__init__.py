"""Networks. `build_generator` and `build_discriminator` are the only ways to make one."""

from __future__ import annotations

from sngan_train.config import RunConfig
from sngan_train.models.discriminator import Discriminator
from sngan_train.models.generator import Generator
from sngan_train.models.resampling import ResamplingForm
from sngan_train.models.spectral_norm import PLAIN, SigmaSource, WeightRule

__all__ = ["Discriminator", "Generator", "build_discriminator", "build_generator"]


def build_generator(
    config: RunConfig,
    num_classes: int,
    *,
    source: SigmaSource,
    form: ResamplingForm = ResamplingForm.PLAIN,
) -> Generator:
    """A generator with fresh weights.

    `source` says where σ comes from if the config normalises the generator; SigmaSource.NONE builds the plain
    network that a folded state fits.
    """
    rule = PLAIN
    if config.generator.spectral_norm and source is not SigmaSource.NONE:
        rule = WeightRule(source=source, lipschitz=config.spectral_norm.lipschitz)
    return Generator(
        latent_dim=config.generator.latent_dim,
        channels=config.generator.channels,
        image_size=config.data.image_size,
        image_channels=config.data.channels,
        num_classes=num_classes,
        rule=rule,
        form=form,
    )


def build_discriminator(
    config: RunConfig, num_classes: int, *, form: ResamplingForm = ResamplingForm.PLAIN
) -> Discriminator:
    """A discriminator with fresh weights, spectrally normalised by power iteration."""
    return Discriminator(
        channels=config.discriminator.channels,
        image_channels=config.data.channels,
        num_classes=num_classes,
        rule=WeightRule(source=SigmaSource.POWER_ITERATION, lipschitz=config.spectral_norm.lipschitz),
        form=form,
    )
