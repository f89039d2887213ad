import pytest
import torch

from handlers.latents import draw_latents
from sngan_train.config import RunConfig
from sngan_train.models.spectral_norm import exact_sigma, spectral_layers
from sngan_train.state import TrainState


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


def test_decay_may_start_at_a_step(tiny_config: RunConfig) -> None:
    optimizer = tiny_config.override({"optimizer": {"decay_start_step": 400, "decay_start": 0.0}}).optimizer
    factors = [optimizer.learning_rate_factor(step, 450) for step in (0, 400, 425, 450)]
    assert factors == pytest.approx([1.0, 1.0, 0.5, 0.0])


def test_standing_statistics_are_those_of_the_averages_own_features(tiny_config: RunConfig) -> None:
    """Measured again with hooks on what each normalisation was given."""
    config = tiny_config.override({"training": {"standing_statistics": 128}})
    state = TrainState.create(config, 3, torch.device("cpu"), torch.float32)
    state.generator.norm.running_mean.fill_(100.0)
    state.update_average(0.5)
    generator = state.finish_average()
    assert not generator.training
    assert not any(module.training for module in generator.modules())
    inputs: list[torch.Tensor] = []
    hook = generator.norm.register_forward_pre_hook(lambda module, given: inputs.append(given[0]))
    norms = [module for module in generator.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:  # batch statistics within the network, so that the last one's input is what it saw
        norm.train()
    for start in (0, 64):
        indices = range(start, start + 64)
        with torch.no_grad():
            generator(torch.from_numpy(draw_latents(1, indices, 8)), torch.tensor([i % 3 for i in indices]))
    hook.remove()
    means = torch.stack([x.mean(dim=(0, 2, 3)) for x in inputs]).mean(dim=0)
    variances = torch.stack([x.var(dim=(0, 2, 3)) for x in inputs]).mean(dim=0)
    fresh = TrainState.create(config, 3, torch.device("cpu"), torch.float32).finish_average()
    assert torch.allclose(fresh.norm.running_mean, means, atol=1e-5)
    assert torch.allclose(fresh.norm.running_var, variances, rtol=1e-4)


def test_standing_statistics_do_not_depend_on_how_often_they_are_measured(tiny_config: RunConfig) -> None:
    config = tiny_config.override({"training": {"standing_statistics": 64}})
    state = TrainState.create(config, 3, torch.device("cpu"), torch.float32)
    first = {name: value.clone() for name, value in state.finish_average().state_dict().items()}
    second = state.finish_average().state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
