"""The presets are what the papers' tables say."""

import pytest

from sngan_train.config import RunConfig
from sngan_train.errors import ConfigError
from sngan_train.objective import Objective
from sngan_train.presets import PRESETS, find_preset


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_named_after_itself_and_survives_being_stored(name: str) -> None:
    config = find_preset(name)
    assert config.preset == name
    assert RunConfig.from_dict(config.to_dict()) == config


def test_table_1() -> None:
    """(learning rate, beta1, beta2, critic steps) of the settings, typed off the paper."""
    table = {
        "A": (0.0001, 0.5, 0.9, 5),
        "B": (0.0001, 0.5, 0.999, 1),
        "C": (0.0002, 0.5, 0.999, 1),
        "D": (0.001, 0.5, 0.9, 5),
        "E": (0.001, 0.5, 0.999, 5),
        "F": (0.001, 0.9, 0.999, 5),
    }
    for data in ("cifar10", "stl10"):
        for setting, expected in table.items():
            optimizer = find_preset(f"paper/{data}-cnn/weight-norm/{setting}").optimizer
            assert optimizer.generator_learning_rate == optimizer.discriminator_learning_rate
            assert (
                optimizer.generator_learning_rate,
                optimizer.beta1,
                optimizer.beta2,
                optimizer.critic_steps,
            ) == expected


@pytest.mark.parametrize("name", [name for name in PRESETS if name.startswith("paper/")])
def test_the_paper_normalises_the_discriminator_alone_and_averages_nothing(name: str) -> None:
    config = find_preset(name)
    assert not config.generator.spectral_norm
    assert config.training.ema_decay == 0.0
    assert not config.data.flip
    assert config.data.dequantize
    assert config.generator.latent_dim == 128
    assert config.training.batch_size == 64


def test_losses_are_the_papers() -> None:
    """Equation 15 for all but WGAN-GP in the standard CNN, equation 17 for the ResNets; lambda 10, c 0.01."""
    for name in PRESETS:
        config = find_preset(name)
        if name.startswith("paper/") and "-cnn/" in name:
            method = name.split("/")[2]
            wanted = {"wgan-gp": "wasserstein", "sn-hinge": "hinge"}.get(method, "non-saturating")
            assert config.training.loss == wanted, name
        elif name.startswith(("paper/", "projection/")):
            assert config.training.loss == "hinge"
            assert config.optimizer.critic_steps == 5
            assert Objective.of(config).generator_batch_size == 128
    assert Objective.of(find_preset("paper/cifar10-cnn/gan-gp/A")).gradient_penalty == 10.0
    assert Objective.of(find_preset("paper/cifar10-cnn/weight-clipping/A")).clip_at == 0.01


def test_imagenet_decays_from_400_000_to_450_000_updates() -> None:
    config = find_preset("paper/imagenet128-sn")
    total = config.training.total_steps
    factors = [config.optimizer.learning_rate_factor(step, total) for step in (399_999, 425_000, 450_000)]
    assert factors == pytest.approx([1.0, 0.5, 0.0])
    cifar = find_preset("paper/cifar10-resnet/sn")
    assert cifar.optimizer.learning_rate_factor(25_000, cifar.training.total_steps) == pytest.approx(0.5)


def test_a_score_of_table_2_is_said_to_be_the_best_of_the_settings() -> None:
    published = PRESETS["paper/cifar10-cnn/sn/C"].published
    assert "the best of A to F, which the paper does not name" in published
    assert "10,000 real and 5,000 generated" in PRESETS["paper/cifar10-cnn/sn/C"].protocol
    assert "7.42" in published
    assert "29.3" in published
    assert PRESETS["paper/stl10-cnn/batch-norm/C"].published == ""  # the paper has no such score


def test_an_unknown_name_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean paper/cifar10-resnet/sn"):
        find_preset("paper/cifar-resnet/sn")
