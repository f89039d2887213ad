import pytest

from sngan_train.advice import check_division, warnings_about
from sngan_train.config import RunConfig, TrainingConfig
from sngan_train.errors import ConfigError
from sngan_train.presets import PRESETS, find_preset


def test_presets_need_no_advice() -> None:
    for name in PRESETS:
        assert not list(warnings_about(find_preset(name), 10)), name


@pytest.mark.parametrize(
    ("changes", "num_classes", "words"),
    [
        ({"training": {"batch_size": 16}}, 10, "effective batch is 16"),
        ({"training": {"loss": "wasserstein"}}, 10, "hardly anything"),
        ({"training": {"loss": "wasserstein"}, "discriminator": {"normalization": "none"}}, 10, "diverges"),
        ({}, 1, "one class only"),
    ],
)
def test_what_is_seldom_meant_is_said(changes: dict, num_classes: int, words: str) -> None:
    config: RunConfig = find_preset("cifar10").override(changes)
    assert words in " ".join(warnings_about(config, num_classes))


def test_the_batch_must_divide() -> None:
    check_division(TrainingConfig(batch_size=64, accumulation_steps=2), 2)
    with pytest.raises(ConfigError, match="as 63 is"):
        check_division(TrainingConfig(batch_size=64), 3)
