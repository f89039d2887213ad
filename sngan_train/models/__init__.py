"""Networks. `build_generator` and `build_discriminator` are the only ways to make one."""

from __future__ import annotations

from torch import nn

from sngan_train.config import RunConfig
from sngan_train.models.discriminator import Discriminator
from sngan_train.models.feature_norm import FeatureNorm
from sngan_train.models.frobenius_norm import FrobeniusNorm
from sngan_train.models.generator import Generator
from sngan_train.models.resampling import ResamplingForm
from sngan_train.models.resnet_discriminator import ResNetDiscriminator
from sngan_train.models.resnet_generator import ResNetGenerator
from sngan_train.models.spectral_norm import SigmaSource, SpectralNorm, SpectralRole
from sngan_train.models.standard_cnn import CNNDiscriminator, CNNGenerator, Variant
from sngan_train.models.weight_norm import WeightNorm
from sngan_train.models.weight_rule import PLAIN, WeightRule, weight_layers

__all__ = ["Discriminator", "Generator", "build_discriminator", "build_generator", "weight_layers"]

FEATURE_NORMS = {kind.value: kind for kind in FeatureNorm}


def build_generator(
    config: RunConfig,
    num_classes: int,
    *,
    source: SigmaSource,
    form: ResamplingForm = ResamplingForm.PLAIN,
) -> Generator:
    """A generator with fresh weights.

    `source` says where σ comes from if the config normalises the generator; SigmaSource.NONE builds the plain
    network that a folded state fits. `num_classes` is of the data; an unconditional generator has no use for it.
    """
    rule = PLAIN
    if config.generator.spectral_norm and source is not SigmaSource.NONE:
        rule = SpectralNorm(source=source, lipschitz=config.spectral_norm.lipschitz)
    shape = {
        "latent_dim": config.generator.latent_dim,
        "channels": config.generator.channels,
        "image_size": config.data.image_size,
        "image_channels": config.data.channels,
        "num_classes": num_classes if config.conditional else 0,
    }
    generator: Generator
    if config.generator.network == "resnet":
        generator = ResNetGenerator(**shape, rule=rule, form=form)
    else:
        generator = CNNGenerator(variant=Variant(config.generator.network), **shape, rule=rule)
    generator.latent_distribution = config.generator.latent_distribution
    return generator


def build_discriminator(
    config: RunConfig, num_classes: int, *, form: ResamplingForm = ResamplingForm.PLAIN
) -> Discriminator:
    """A discriminator with fresh weights, kept in bounds as `discriminator.normalization` says."""
    normalization = config.discriminator.normalization
    rule = discriminator_rule(config)
    feature_norm = FEATURE_NORMS.get(normalization, FeatureNorm.NONE)
    discriminator: Discriminator
    if config.discriminator.network == "resnet":
        discriminator = ResNetDiscriminator(
            channels=config.discriminator.channels,
            image_size=config.data.image_size,
            image_channels=config.data.channels,
            num_classes=num_classes,
            conditioning=config.discriminator.conditioning,
            rule=rule,
            feature_norm=feature_norm,
            form=form,
        )
    else:
        discriminator = CNNDiscriminator(
            variant=Variant(config.discriminator.network),
            channels=config.discriminator.channels,
            image_size=config.data.image_size,
            image_channels=config.data.channels,
            num_classes=num_classes,
            conditioning=config.discriminator.conditioning,
            rule=rule,
            feature_norm=feature_norm,
        )
    if normalization == "orthonormal":
        for _, layer in weight_layers(discriminator):
            nn.init.orthogonal_(layer.weight)  # reads the weight as (outputs, everything else)
    return discriminator


def discriminator_rule(config: RunConfig) -> WeightRule:
    """What `discriminator.normalization` does to each weight; PLAIN for the methods that act elsewhere."""
    lipschitz = config.spectral_norm.lipschitz
    rules: dict[str, WeightRule] = {
        "spectral-norm": SpectralNorm(lipschitz=lipschitz),
        "spectral-norm-gain": SpectralNorm(role=SpectralRole.NORMALIZE_WITH_GAIN),
        "spectral-norm-regularization": SpectralNorm(role=SpectralRole.REGULARIZE),
        "weight-norm": WeightNorm(),
        "frobenius-norm": FrobeniusNorm(),
    }
    return rules.get(config.discriminator.normalization, PLAIN)
