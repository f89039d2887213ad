"""The runs of Miyato et al. 2018 and of Miyato & Koyama 2018, with what those papers report.

    paper/{cifar10,stl10}-cnn/METHOD/{A..F}      table 1's settings, table 3's networks
    paper/{cifar10,stl10}-resnet/{sn,orthonormal}
    paper/imagenet128-{sn,orthonormal,layernorm}    conditional by concatenation, figure 5
    paper/imagenet128-unconditional-{sn,orthonormal}
    projection/{cifar10,imagenet128}

The generator is not normalised in any of them. Where the paper is silent the official code speaks: batch 64, twice as
many images in a generator update for the ResNets, and for the standard CNN the authors' chainer-gan-lib: equal
batches, a constant learning rate.
"""

from __future__ import annotations

import dataclasses

from sngan_train.config import (
    DataConfig,
    DiscriminatorConfig,
    GeneratorConfig,
    OptimizerConfig,
    RunConfig,
    TrainingConfig,
)
from sngan_train.preset import Preset

PAPER = "Miyato et al. 2018"
PROJECTION_PAPER = "Miyato & Koyama 2018"
PROTOCOL = "IS of 5,000 images, 10 times; FID of 10,000 real and 5,000 generated; TensorFlow Inception"
DATA = {
    "cifar10": DataConfig(source="cifar10", image_size=32),
    "stl10": DataConfig(source="stl10", image_size=48),
    "imagenet128": DataConfig(source="folder:imagenet/train", image_size=128),
}
# Table 1: learning rate, beta1, beta2, critic steps.
SETTINGS = {
    "A": (1e-4, 0.5, 0.9, 5),
    "B": (1e-4, 0.5, 0.999, 1),
    "C": (2e-4, 0.5, 0.999, 1),
    "D": (1e-3, 0.5, 0.9, 5),
    "E": (1e-3, 0.5, 0.999, 5),
    "F": (1e-3, 0.9, 0.999, 5),
}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Method:
    """A row of table 2: what bounds the discriminator, the loss, and the best scores over A to F."""

    title: str
    normalization: str
    loss: str = "non-saturating"
    cifar10: str = ""
    stl10: str = ""


METHODS = {
    "none": Method(title="no normalisation", normalization="none"),
    "weight-clipping": Method(
        title="weight clipping",
        normalization="weight-clipping",
        cifar10="IS 6.41±.11, FID 42.6",
        stl10="IS 7.57±.10, FID 64.2",
    ),
    "gan-gp": Method(title="GAN-GP", normalization="gradient-penalty", cifar10="IS 6.93±.08, FID 37.7"),
    "wgan-gp": Method(
        title="WGAN-GP",
        normalization="gradient-penalty",
        loss="wasserstein",
        cifar10="IS 6.68±.06, FID 40.2",
        stl10="IS 8.42±.13, FID 55.1",
    ),
    "batch-norm": Method(title="batch norm", normalization="batch-norm", cifar10="IS 6.27±.10, FID 56.3"),
    "layer-norm": Method(
        title="layer norm",
        normalization="layer-norm",
        cifar10="IS 7.19±.12, FID 33.9",
        stl10="IS 7.61±.12, FID 75.6",
    ),
    "weight-norm": Method(
        title="weight norm",
        normalization="weight-norm",
        cifar10="IS 6.84±.07, FID 34.7",
        stl10="IS 7.16±.10, FID 73.4",
    ),
    "frobenius": Method(title="Frobenius norm", normalization="frobenius-norm"),
    "orthonormal": Method(
        title="orthonormal regularisation",
        normalization="orthonormal",
        cifar10="IS 7.40±.12, FID 29.0",
        stl10="IS 8.56±.07, FID 46.7",
    ),
    "sn": Method(
        title="spectral norm",
        normalization="spectral-norm",
        cifar10="IS 7.42±.08, FID 29.3",
        stl10="IS 8.28±.09, FID 53.1",
    ),
    "sn-hinge": Method(
        title="spectral norm, hinge loss",
        normalization="spectral-norm",
        loss="hinge",
        cifar10="IS 7.58±.12, FID 25.5",
        stl10="IS 8.79±.14, FID 43.2 (200,000 updates)",
    ),
}


def paper_presets() -> dict[str, Preset]:
    """All of them by name."""
    presets: dict[str, Preset] = {}
    for data in ("cifar10", "stl10"):
        for method_name, method in METHODS.items():
            for setting in SETTINGS:
                name = f"paper/{data}-cnn/{method_name}/{setting}"
                presets[name] = _standard_cnn(name, data, method, setting)
    resnet_scores = {
        ("cifar10", "spectral-norm"): "IS 8.22±.05, FID 21.7±.21",
        ("cifar10", "orthonormal"): "IS 7.92±.04, FID 23.8±.58",
        ("stl10", "spectral-norm"): "IS 9.10±.04, FID 40.1±.50",
        ("stl10", "orthonormal"): "IS 8.72±.06, FID 42.4±.99",
    }
    for (data, normalization), score in resnet_scores.items():
        short = "sn" if normalization == "spectral-norm" else normalization
        name = f"paper/{data}-resnet/{short}"
        table = 4 if data == "cifar10" else 5
        presets[name] = Preset(
            summary=f"{data}, ResNet, {normalization}, hinge loss, unconditional",
            config=_resnet(name, data, normalization, conditioning="none"),
            source=f"{PAPER}, table 2 (networks: table {table})",
            published=f"{score} (mean and spread over seeds)",
            protocol=PROTOCOL,
        )
    imagenet = {
        "sn": ("spectral-norm", "concat", "IS 21.1±.35; intra-class FID 141.2 in the official repository"),
        "orthonormal": ("orthonormal", "concat", "figure 5: stops improving after about 20,000 updates"),
        "layernorm": ("layer-norm", "concat", "figure 5: collapses"),
        "unconditional-sn": ("spectral-norm", "none", "figure 13, a curve"),
        "unconditional-orthonormal": ("orthonormal", "none", "figure 13, a curve"),
    }
    for short, (normalization, conditioning, published) in imagenet.items():
        name = f"paper/imagenet128-{short}"
        presets[name] = Preset(
            summary=f"ImageNet at 128 pixels, ResNet, {normalization}, conditioning {conditioning}",
            config=_resnet(name, "imagenet128", normalization, conditioning=conditioning),
            source=f"{PAPER}, {'figure 5' if conditioning == 'concat' else 'figure 13'} (networks: table 6)",
            published=published,
        )
    for data, published in (
        ("cifar10", "IS 8.62, FID 17.5 (as later papers quote it)"),
        ("imagenet128", "IS 29.7, intra-class FID 103.1 at 450,000 updates; IS 36.8, 92.4 at 850,000"),
    ):
        name = f"projection/{data}"
        presets[name] = Preset(
            summary=f"{data}, ResNet, spectral norm, projection discriminator",
            config=_resnet(name, data, "spectral-norm", conditioning="projection"),
            source=PROJECTION_PAPER,
            published=published,
        )
    return presets


def _standard_cnn(name: str, data: str, method: Method, setting: str) -> Preset:
    rate, beta1, beta2, critic_steps = SETTINGS[setting]
    best = method.cifar10 if data == "cifar10" else method.stl10
    return Preset(
        summary=f"{data}, standard CNN, {method.title}, setting {setting}, unconditional",
        config=RunConfig(
            preset=name,
            data=DATA[data],
            generator=GeneratorConfig(network="cnn", channels=64, spectral_norm=False),
            discriminator=DiscriminatorConfig(
                network="cnn", channels=64, conditioning="none", normalization=method.normalization
            ),
            optimizer=OptimizerConfig(
                generator_learning_rate=rate,
                discriminator_learning_rate=rate,
                beta1=beta1,
                beta2=beta2,
                critic_steps=critic_steps,
            ),
            training=TrainingConfig(
                loss=method.loss, total_steps=100_000, generator_batch_multiple=1, ema_decay=0.0, compile=True
            ),
        ),
        source=f"{PAPER}, tables 1 to 3",
        published=f"{best} (of the best of A to F, which the paper does not name)" if best else "",
        protocol=PROTOCOL if best else "",
    )


def _resnet(name: str, data: str, normalization: str, *, conditioning: str) -> RunConfig:
    """Appendix B.2 and B.3; the official code decays from step 0 at 32 pixels, the paper from step 400,000 at 128."""
    imagenet = data == "imagenet128"
    wide = data == "cifar10"
    total_steps, decay_start_step = (450_000, 400_000) if imagenet else (50_000, 0)
    return RunConfig(
        preset=name,
        data=DATA[data],
        generator=GeneratorConfig(channels=256 if wide else 64, spectral_norm=False),
        discriminator=DiscriminatorConfig(
            channels=128 if wide else 64, conditioning=conditioning, normalization=normalization
        ),
        optimizer=OptimizerConfig(critic_steps=5, decay_start=0.0, decay_start_step=decay_start_step),
        training=TrainingConfig(loss="hinge", total_steps=total_steps, ema_decay=0.0, compile=True),
    )
