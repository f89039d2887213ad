"""A run's whole configuration: frozen dataclasses, valid from birth; an unknown key is an error.

One tree is printed by `--dry-run`, stored in every checkpoint, overridden by `--set section.key=value` and by
TOML files, and read by nothing but the code it configures.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from sngan_train.errors import ConfigError

IMAGE_SIZES = (16, 32, 48, 64, 128)
STANDARD_CNN_SIZES = (16, 32, 48)
RESIDENCIES = ("auto", "memory", "stream")
NETWORKS = ("resnet", "cnn", "cnn-chainer-gan-lib")
LATENT_DISTRIBUTIONS = ("normal", "uniform")
CONDITIONINGS = ("none", "projection", "concat")
NORMALIZATIONS = (
    "none",
    "weight-clipping",
    "gradient-penalty",
    "batch-norm",
    "layer-norm",
    "weight-norm",
    "frobenius-norm",
    "orthonormal",
    "spectral-norm",
    "spectral-norm-gain",
    "spectral-norm-regularization",
)
LOSSES = ("hinge", "non-saturating", "wasserstein")
PRECISIONS = ("auto", "float32", "bfloat16")
AUGMENTATIONS = ("color", "translation", "cutout")


def _require(condition: bool, key: str, rule: str, value: object) -> None:
    if not condition:
        raise ConfigError(f"{key} must be {rule}, got {value!r}")


def _require_one_of(allowed: Sequence[str], key: str, value: str) -> None:
    if value not in allowed:
        near = difflib.get_close_matches(value, allowed, n=1)
        advice = f"did you mean {near[0]}? " if near else ""
        raise ConfigError(f"{key}: {value!r} is unknown; {advice}allowed: {', '.join(allowed)}")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig:
    """What is learned from."""

    source: str = "digits"  # digits | fashion-mnist | cifar10 | cifar100 | stl10 | folder:PATH
    image_size: int = 32  # pixels, square
    channels: int = 3  # 1 grey, 3 RGB
    flip: bool = False  # mirror half of the images at random
    dequantize: bool = True  # add U(0, 1) of one grey level, as the official code does
    residency: str = "auto"  # auto holds the data set in memory if it fits, else streams it from the disk

    def __post_init__(self) -> None:
        _require(self.image_size in IMAGE_SIZES, "data.image_size", f"one of {IMAGE_SIZES}", self.image_size)
        _require(self.channels in (1, 3), "data.channels", "1 or 3", self.channels)
        _require_one_of(RESIDENCIES, "data.residency", self.residency)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class GeneratorConfig:
    """Which generator, and how wide."""

    network: str = "resnet"
    latent_dim: int = 128
    latent_distribution: str = "normal"  # uniform is U(-1, 1)
    channels: int = 256  # base width: all blocks' at 16 and 32 pixels of the ResNet, the last block's elsewhere
    spectral_norm: bool = True  # the paper normalises the discriminator alone

    def __post_init__(self) -> None:
        _require_one_of(NETWORKS, "generator.network", self.network)
        _require_one_of(LATENT_DISTRIBUTIONS, "generator.latent_distribution", self.latent_distribution)
        _require(self.latent_dim >= 1, "generator.latent_dim", "at least 1", self.latent_dim)
        _require(self.channels >= 1, "generator.channels", "at least 1", self.channels)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class DiscriminatorConfig:
    """Which discriminator, how wide, and what keeps it in bounds: `normalization` is the paper's subject."""

    network: str = "resnet"
    channels: int = 128  # base width: all blocks' at 16 and 32 pixels of the ResNet, the first block's elsewhere
    conditioning: str = "projection"  # none makes the generator unconditional too
    normalization: str = "spectral-norm"
    gradient_penalty: bool = False  # beside the normalization, as in the paper's appendix E

    def __post_init__(self) -> None:
        _require_one_of(NETWORKS, "discriminator.network", self.network)
        _require(self.channels >= 1, "discriminator.channels", "at least 1", self.channels)
        _require_one_of(CONDITIONINGS, "discriminator.conditioning", self.conditioning)
        _require_one_of(NORMALIZATIONS, "discriminator.normalization", self.normalization)
        if self.conditioning == "concat" and self.network != "resnet":
            raise ConfigError(
                "discriminator.conditioning = concat is for discriminator.network = resnet; use projection or none"
            )

    @property
    def penalizes_gradient(self) -> bool:
        """Whether the gradient penalty is part of the loss."""
        return self.gradient_penalty or self.normalization == "gradient-penalty"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SpectralNormConfig:
    """The method's only hyper-parameter."""

    lipschitz: float = 1.0  # every normalised weight has this largest singular value

    def __post_init__(self) -> None:
        _require(0 < self.lipschitz < math.inf, "spectral_norm.lipschitz", "finite and above 0", self.lipschitz)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RegularizationConfig:
    """The strengths of the other methods; each is used by its own `discriminator.normalization` alone."""

    clip_at: float = 0.01  # weight-clipping; the paper's c
    gradient_penalty: float = 10.0  # the paper's lambda
    orthonormal: float = 0.1  # not given in the paper; docs/results has a scan
    spectral: float = 0.01  # spectral-norm-regularization; Yoshida & Miyato 2017, section 4

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            _require(0 < value < math.inf, f"regularization.{field.name}", "finite and above 0", value)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class OptimizerConfig:
    """Adam, one for each network."""

    generator_learning_rate: float = 2e-4
    discriminator_learning_rate: float = 2e-4
    beta1: float = 0.0
    beta2: float = 0.9
    critic_steps: int = 5  # discriminator updates per generator update
    decay_start: float = 1.0  # fraction of the run after which the rates fall linearly to 0; 1 is never
    decay_start_step: int = 0  # the same as a step; 0 leaves it to the fraction

    def __post_init__(self) -> None:
        for key in ("generator_learning_rate", "discriminator_learning_rate"):
            _require(0 < getattr(self, key) < 1, f"optimizer.{key}", "above 0 and below 1", getattr(self, key))
        for key in ("beta1", "beta2"):
            _require(0 <= getattr(self, key) < 1, f"optimizer.{key}", "0 or more, below 1", getattr(self, key))
        _require(self.critic_steps >= 1, "optimizer.critic_steps", "at least 1", self.critic_steps)
        _require(0 <= self.decay_start <= 1, "optimizer.decay_start", "0 ... 1", self.decay_start)
        _require(self.decay_start_step >= 0, "optimizer.decay_start_step", "0 or more", self.decay_start_step)

    def learning_rate_factor(self, step: int, total_steps: int) -> float:
        """What both rates are multiplied by at `step`: 1, then linearly down to 0 at `total_steps`."""
        start = self.decay_start_step or self.decay_start * total_steps
        return 1.0 if step <= start else max(0.0, (total_steps - step) / (total_steps - start))


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TrainingConfig:
    """The loop."""

    loss: str = "hinge"
    total_steps: int = 50_000  # generator updates
    batch_size: int = 64  # real images of one discriminator update, over all processes and accumulation steps
    generator_batch_multiple: int = 2  # the official code draws twice as many fakes for a generator update
    accumulation_steps: int = 1  # an update's images are taken in so many parts, for want of memory
    augmentation: str = ""  # DiffAugment for small data sets, as in color,translation,cutout
    ema_decay: float = 0.999  # smaller early on: min(this, (1 + step) / (10 + step))
    standing_statistics: int = 0  # images to measure the averaged generator's batch statistics on; 0 averages them
    precision: str = "auto"  # auto is bfloat16 where the processor multiplies matrices in it
    compile: bool = False  # torch.compile: pays in runs of more than a few minutes
    seed: int = 0
    log_every: int = 50  # steps
    sample_every: int = 1000  # steps
    spectrum_every: int = 1000  # steps
    save_every: int = 1000  # steps
    keep_checkpoints: int = 3  # the last ones; the best by evaluation is kept beside them
    evaluate_every: int = 0  # steps; 0 is never
    evaluate_protocol: str = "quick"

    def __post_init__(self) -> None:
        positive = (
            "total_steps",
            "batch_size",
            "generator_batch_multiple",
            "accumulation_steps",
            "log_every",
            "sample_every",
            "spectrum_every",
            "save_every",
            "keep_checkpoints",
        )
        for key in positive:
            _require(getattr(self, key) >= 1, f"training.{key}", "at least 1", getattr(self, key))
        _require_one_of(LOSSES, "training.loss", self.loss)
        for name in self.augmentations:
            _require_one_of(AUGMENTATIONS, "training.augmentation", name)
        _require(0 <= self.ema_decay < 1, "training.ema_decay", "0 or more, below 1", self.ema_decay)
        _require(self.standing_statistics >= 0, "training.standing_statistics", "0 or more", self.standing_statistics)
        _require_one_of(PRECISIONS, "training.precision", self.precision)
        _require(self.evaluate_every >= 0, "training.evaluate_every", "0 or more", self.evaluate_every)
        _require(0 <= self.seed < 2**32, "training.seed", "0 ... 2**32 - 1", self.seed)
        _require(
            self.batch_size % self.accumulation_steps == 0,
            "training.batch_size",
            f"a multiple of training.accumulation_steps = {self.accumulation_steps}",
            self.batch_size,
        )

    @property
    def augmentations(self) -> tuple[str, ...]:
        """The names in `augmentation`."""
        return tuple(name.strip() for name in self.augmentation.split(",") if name.strip())


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RunConfig:
    """Everything that one training run is."""

    preset: str = "custom"
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    generator: GeneratorConfig = dataclasses.field(default_factory=GeneratorConfig)
    discriminator: DiscriminatorConfig = dataclasses.field(default_factory=DiscriminatorConfig)
    spectral_norm: SpectralNormConfig = dataclasses.field(default_factory=SpectralNormConfig)
    regularization: RegularizationConfig = dataclasses.field(default_factory=RegularizationConfig)
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    training: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        size = self.data.image_size
        for section in ("generator", "discriminator"):
            if getattr(self, section).network != "resnet" and size not in STANDARD_CNN_SIZES:
                raise ConfigError(
                    f"{section}.network = {getattr(self, section).network} is for data.image_size in "
                    f"{STANDARD_CNN_SIZES}, got {size}; use resnet"
                )

    @property
    def conditional(self) -> bool:
        """Whether the generator is asked for a class."""
        return self.discriminator.conditioning != "none"

    def to_dict(self) -> dict[str, Any]:
        """Nested plain values that `from_dict` reads back to an equal object."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RunConfig:
        """Read nested values; raises ConfigError for an unknown key, a wrong type or a value out of range."""
        config = _merge(cls(), values, prefix="")
        assert isinstance(config, cls)
        return config

    def override(self, values: Mapping[str, Any]) -> RunConfig:
        """A copy in which the nested `values` replace this config's; same errors as `from_dict`."""
        config = _merge(self, values, prefix="")
        assert isinstance(config, RunConfig)
        return config


def parse_assignments(assignments: Sequence[str]) -> dict[str, Any]:
    """`["training.seed=3"]` → `{"training": {"seed": "3"}}`; values stay text until their field is known."""
    values: dict[str, Any] = {}
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals or not path:
            raise ConfigError(f"--set {assignment!r}: write it as section.key=value, as in training.seed=3")
        section = values
        *parents, leaf = path.strip().split(".")
        for parent in parents:
            section = section.setdefault(parent, {})
            if not isinstance(section, dict):
                raise ConfigError(f"--set {assignment!r}: {parent} was given a value of its own before")
        section[leaf] = text.strip()
    return values


def _merge(node: Any, values: Any, prefix: str) -> Any:
    """`node` with `values` laid over it, each converted to its field's type."""
    if not isinstance(values, Mapping):
        raise ConfigError(f"{prefix.rstrip('.')} is a section with keys of its own, got {values!r}")
    hints = typing.get_type_hints(type(node))
    changes = {}
    for key, value in values.items():
        if key not in hints:
            near = difflib.get_close_matches(key, hints, n=1)
            advice = f"did you mean {prefix}{near[0]}?" if near else f"known here: {', '.join(hints)}"
            raise ConfigError(f"unknown key {prefix}{key}; {advice}")
        current = getattr(node, key)
        if dataclasses.is_dataclass(current):
            changes[key] = _merge(current, value, f"{prefix}{key}.")
        else:
            changes[key] = _convert(value, hints[key], f"{prefix}{key}")
    return dataclasses.replace(node, **changes)


def _convert(value: Any, kind: type | types.UnionType, key: str) -> Any:
    """`value` as `kind`; text (from the command line) is parsed, anything else must already fit."""
    if kind is bool:
        if isinstance(value, str) and value.lower() in ("true", "false"):
            return value.lower() == "true"
        if isinstance(value, bool):
            return value
        raise ConfigError(f"{key} must be true or false, got {value!r}")
    if isinstance(value, bool):
        raise ConfigError(f"{key} must be {_kind_name(kind)}, got {value!r}")
    if kind is str:
        if isinstance(value, str):
            return value
    elif kind is int and isinstance(value, int):
        return value
    elif kind is float and isinstance(value, int | float):
        return float(value)
    elif isinstance(value, str) and isinstance(kind, type):
        try:
            return kind(value)
        except ValueError:
            pass
    raise ConfigError(f"{key} must be {_kind_name(kind)}, got {value!r}")


def _kind_name(kind: type | types.UnionType) -> str:
    names: dict[Any, str] = {int: "a whole number", float: "a number", str: "text"}
    return names.get(kind, str(kind))
