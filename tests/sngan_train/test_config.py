import dataclasses
import json

import pytest

from sngan_train.config import RunConfig, parse_assignments
from sngan_train.errors import ConfigError
from sngan_train.presets import OURS, PRESETS, find_preset


@pytest.mark.parametrize("name", PRESETS)
def test_a_config_survives_json(name: str) -> None:
    config = find_preset(name)
    assert config.preset == name
    assert RunConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_our_presets_normalise_the_generator_too() -> None:
    assert all(preset.config.generator.spectral_norm for preset in OURS.values())


def test_text_becomes_the_fields_type() -> None:
    values = parse_assignments(["training.seed=3", "data.flip=true", "optimizer.beta1=0.5", "data.source=folder:a=b"])
    config = RunConfig().override(values)
    assert (config.training.seed, config.data.flip, config.optimizer.beta1) == (3, True, 0.5)
    assert config.data.source == "folder:a=b"


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("generator.chanels=64", "unknown key generator.chanels; did you mean generator.channels?"),
        ("generater.channels=64", "unknown key generater; did you mean generator?"),
        ("nonsense=1", "unknown key nonsense; known here: preset, data"),
        ("training.seed", "write it as section.key=value"),
        ("training.seed=abc", "training.seed must be a whole number, got 'abc'"),
        ("training.seed=1.5", "training.seed must be a whole number, got '1.5'"),
        ("training.seed=-1", "training.seed must be 0 ... 2**32 - 1, got -1"),
        ("training.total_steps=0", "training.total_steps must be at least 1, got 0"),
        ("data.flip=maybe", "data.flip must be true or false"),
        ("data.image_size=20", "data.image_size must be one of (16, 32, 48, 64, 128), got 20"),
        ("data.channels=2", "data.channels must be 1 or 3"),
        ("optimizer.generator_learning_rate=nan", "optimizer.generator_learning_rate must be above 0"),
        ("spectral_norm.lipschitz=inf", "spectral_norm.lipschitz must be finite"),
        ("training.precision=float8", "training.precision: 'float8' is unknown; did you mean float32?"),
        ("training=3", "training is a section with keys of its own"),
    ],
)
def test_every_wrong_setting_names_itself(assignment: str, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        RunConfig().override(parse_assignments([assignment]))
    assert message in str(raised.value)


def test_toml_types_are_held_to() -> None:
    with pytest.raises(ConfigError, match="must be a whole number, got True"):
        RunConfig.from_dict({"training": {"seed": True}})
    with pytest.raises(ConfigError, match="must be text, got 3"):
        RunConfig.from_dict({"data": {"source": 3}})
    assert RunConfig.from_dict({"optimizer": {"beta1": 0}}).optimizer.beta1 == 0.0


def test_configs_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        RunConfig().preset = "other"  # type: ignore[misc]


def test_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="unknown preset 'digit'; did you mean digits"):
        find_preset("digit")
