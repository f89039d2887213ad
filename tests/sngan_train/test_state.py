import pytest
import torch

from sngan_train.config import RunConfig
from sngan_train.models.spectral_norm import exact_sigma, spectral_layers
from sngan_train.state import TrainState, first_bad_parameter


@pytest.fixture
def state(tiny_config: RunConfig) -> TrainState:
    return TrainState.create(tiny_config, 3, torch.device("cpu"), torch.float32)


def test_the_average_has_no_u_or_v_and_starts_at_the_weights(state: TrainState) -> None:
    names = {name.rpartition(".")[2] for name in state.generator_ema.state_dict()}
    assert "sigma" in names
    assert not names & {"u", "v"}
    for name, value in state.generator.named_parameters():
        assert torch.equal(state.generator_ema.get_parameter(name), value)


def test_the_average_is_the_recurrence_of_weights_and_statistics(state: TrainState) -> None:
    state.step = 10_000  # past the warm-up
    expected = {name: value.clone() for name, value in state.generator_ema.state_dict().items()}
    for _ in range(3):
        with torch.no_grad():
            for parameter in state.generator.parameters():
                parameter.add_(torch.randn_like(parameter))
            state.generator.norm.running_mean.add_(1.0)
        current = state.generator.state_dict()
        for name in expected:
            if name in current and expected[name].is_floating_point():
                expected[name] = 0.9 * expected[name] + 0.1 * current[name]
        state.update_average(0.9)
    for name, value in state.generator_ema.state_dict().items():
        if value.is_floating_point() and not name.endswith("sigma"):
            assert torch.allclose(value, expected[name], atol=1e-6), name


def test_the_average_warms_up(state: TrainState) -> None:
    state.step = 0
    name, parameter = next(iter(state.generator.named_parameters()))
    before = parameter.detach().clone()
    with torch.no_grad():
        parameter.add_(1.0)
    state.update_average(0.999)
    assert torch.allclose(state.generator_ema.get_parameter(name), 0.1 * before + 0.9 * parameter, atol=1e-6)


def test_finishing_sets_the_averages_own_sigma(state: TrainState) -> None:
    with torch.no_grad():
        for parameter in state.generator.parameters():
            parameter.mul_(3.0)
    state.update_average(0.0)
    for _, layer in spectral_layers(state.finish_average()):
        assert exact_sigma(layer.normalized_weight()).item() == pytest.approx(1.5, rel=1e-6)


def test_learning_rates_are_constant_and_then_fall_to_zero(state: TrainState, tiny_config: RunConfig) -> None:
    optimizer = tiny_config.override({"optimizer": {"decay_start": 0.5}}).optimizer
    rates = []
    for state.step in (0, 50, 75, 100):
        state.set_learning_rates(optimizer, total_steps=100)
        rates.append(state.generator_optimizer.param_groups[0]["lr"] / optimizer.generator_learning_rate)
    assert rates == pytest.approx([1.0, 1.0, 0.5, 0.0])
    constant = tiny_config.override({"optimizer": {"decay_start": 1.0}}).optimizer
    state.set_learning_rates(constant, total_steps=100)
    assert state.discriminator_optimizer.param_groups[0]["lr"] == constant.discriminator_learning_rate


def test_a_bad_parameter_is_named(state: TrainState) -> None:
    assert first_bad_parameter(state.generator) is None
    with torch.no_grad():
        state.generator.linear.weight[0, 0] = float("nan")
    assert first_bad_parameter(state.generator) == "linear.weight"
