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

IMAGE_SIZES = (16, 32)
PRECISIONS = ("auto", "float32", "bfloat16")


def _require(condition: bool, key: str, rule: str, value: object) -> None:
    if not condition:
        raise ConfigError(f"{key} must be {rule}, got {value!r}")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig:
    """What is learned from."""

    source: str = "digits"  # digits | fashion-mnist | cifar10 | folder:PATH
    image_size: int = 32  # pixels, square
    channels: int = 3  # 1 grey, 3 RGB
    flip: bool = False  # mirror half of the images at random
    dequantize: bool = True  # add U(0, 1) of one grey level, as the official code does

    def __post_init__(self) -> None:
        _require(self.image_size in IMAGE_SIZES, "data.image_size", f"one of {IMAGE_SIZES}", self.image_size)
        _require(self.channels in (1, 3), "data.channels", "1 or 3", self.channels)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class GeneratorConfig:
    """Class-conditional residual generator."""

    latent_dim: int = 128
    channels: int = 256
    spectral_norm: bool = True  # the paper normalises the discriminator alone

    def __post_init__(self) -> None:
        _require(self.latent_dim >= 1, "generator.latent_dim", "at least 1", self.latent_dim)
        _require(self.channels >= 1, "generator.channels", "at least 1", self.channels)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class DiscriminatorConfig:
    """Projection discriminator, spectrally normalised."""

    channels: int = 128

    def __post_init__(self) -> None:
        _require(self.channels >= 1, "discriminator.channels", "at least 1", self.channels)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SpectralNormConfig:
    """The method's only hyper-parameter."""

    lipschitz: float = 1.0  # every normalised weight has this largest singular value

    def __post_init__(self) -> None:
        _require(0 < self.lipschitz < math.inf, "spectral_norm.lipschitz", "finite and above 0", self.lipschitz)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class OptimizerConfig:
    """Adam, one for each network."""

    generator_learning_rate: float = 2e-4
    discriminator_learning_rate: float = 2e-4
    beta1: float = 0.0
    beta2: float = 0.9
    critic_steps: int = 5  # discriminator updates per generator update
    decay_start: float = 1.0  # fraction of the run after which the rates fall linearly to 0; 1 is never

    def __post_init__(self) -> None:
        for key in ("generator_learning_rate", "discriminator_learning_rate"):
            _require(0 < getattr(self, key) < 1, f"optimizer.{key}", "above 0 and below 1", getattr(self, key))
        for key in ("beta1", "beta2"):
            _require(0 <= getattr(self, key) < 1, f"optimizer.{key}", "0 or more, below 1", getattr(self, key))
        _require(self.critic_steps >= 1, "optimizer.critic_steps", "at least 1", self.critic_steps)
        _require(0 <= self.decay_start <= 1, "optimizer.decay_start", "0 ... 1", self.decay_start)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TrainingConfig:
    """The loop."""

    total_steps: int = 50_000  # generator updates
    batch_size: int = 64  # real images of one discriminator update
    generator_batch_multiple: int = 2  # the official code draws twice as many fakes for a generator update
    ema_decay: float = 0.999
    precision: str = "auto"  # auto is bfloat16 where the processor multiplies matrices in it
    seed: int = 0
    log_every: int = 50  # steps
    sample_every: int = 1000  # steps
    save_every: int = 1000  # steps
    keep_checkpoints: int = 3

    def __post_init__(self) -> None:
        positive = (
            "total_steps",
            "batch_size",
            "generator_batch_multiple",
            "log_every",
            "sample_every",
            "save_every",
            "keep_checkpoints",
        )
        for key in positive:
            _require(getattr(self, key) >= 1, f"training.{key}", "at least 1", getattr(self, key))
        _require(0 <= self.ema_decay < 1, "training.ema_decay", "0 or more, below 1", self.ema_decay)
        _require(self.precision in PRECISIONS, "training.precision", f"one of {PRECISIONS}", self.precision)
        _require(0 <= self.seed < 2**32, "training.seed", "0 ... 2**32 - 1", self.seed)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RunConfig:
    """Everything that one training run is."""

    preset: str = "custom"
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    generator: GeneratorConfig = dataclasses.field(default_factory=GeneratorConfig)
    discriminator: DiscriminatorConfig = dataclasses.field(default_factory=DiscriminatorConfig)
    spectral_norm: SpectralNormConfig = dataclasses.field(default_factory=SpectralNormConfig)
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    training: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)

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
