"""The arithmetic with a clock that is told the times; the whole command on networks too small to mean anything."""

import importlib.util
import json
import statistics
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from torch.linalg import matrix_norm

from sngan_train import benchmark
from sngan_train.benchmark_report import as_text, as_values
from sngan_train.config import NORMALIZATIONS, RunConfig
from sngan_train.contenders import FORMS, TORCHS_OWN, _apply_torchs_spectral_norm, discriminator_update
from sngan_train.interleaving import Spread, take_turns, warm_up
from sngan_train.mimicry import MimicryTraining, reason_against
from sngan_train.presets import find_preset
from sngan_train.state import TrainState

CPU = torch.device("cpu")
# By its files: it cannot be imported by itself.
needs_rival = pytest.mark.skipif(
    importlib.util.find_spec("torch_mimicry") is None, reason="the extra `bench` is not installed"
)


class FakeTime:
    """A clock that only the contenders move."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.order: list[str] = []

    def __call__(self) -> float:
        return self.now_s

    def contender(self, name: str, *durations_s: float) -> Callable[[], None]:
        left = list(durations_s)

        def work() -> None:
            self.order.append(name)
            self.now_s += left.pop(0)

        return work


def test_ratios_are_of_one_round_and_the_order_turns() -> None:
    clock = FakeTime()
    done: list[int] = []
    # The machine gets ten times as slow in the third round; the ratios 2, 2, 4 do not show it.
    contenders = {"slow": clock.contender("slow", 2.0, 2.0, 40.0), "fast": clock.contender("fast", 1.0, 1.0, 10.0)}
    timings = take_turns(contenders, 3, clock, done.append)
    assert clock.order == ["slow", "fast", "fast", "slow", "slow", "fast"]
    assert done == [1, 2, 3]
    assert timings.seconds == {"slow": [2.0, 2.0, 40.0], "fast": [1.0, 1.0, 10.0]}
    assert timings.ratio("slow", "fast") == Spread(lower=2.0, median=2.0, upper=3.0, count=3)
    assert timings.ratio("fast", "slow").median == 0.5


def test_spread_is_numpys_quartiles() -> None:
    import numpy as np

    values = [3.0, 1.0, 4.0, 1.5, 9.0, 2.6]
    spread = Spread.of(values)
    assert [spread.lower, spread.median, spread.upper] == pytest.approx(np.percentile(values, [25, 50, 75]).tolist())


def test_the_first_call_is_kept_apart() -> None:
    clock = FakeTime()
    times = warm_up(clock.contender("compiled", 60.0, 2.0), clock)
    assert (times.first_s, times.next_s) == (60.0, 2.0)


def tiny_plan(config: RunConfig, **changes: object) -> benchmark.Plan:
    values: dict[str, object] = {
        "config": config,
        "forms": ("plain", "float32"),
        "step_form": "float32",
        "mimicry": False,
        "normalizations": False,
        "rounds": 2,
        "pairs": 3,
        "device": CPU,
    }
    return benchmark.Plan(**(values | changes))  # type: ignore[arg-type]


def test_a_run_compares_what_was_asked_for(tiny_config: RunConfig) -> None:
    said: list[str] = []
    ticks = iter(range(10_000))  # every reading of the clock is a second after the last: all contenders take one
    plan = tiny_plan(tiny_config, normalizations=True)
    iterations, updates = benchmark.run(plan, lambda: float(next(ticks)), said.append)
    assert set(iterations.timings.seconds) == {"plain", "float32"}
    assert set(updates.timings.seconds) == {*NORMALIZATIONS, TORCHS_OWN}
    # 6 real images an update, 2 critic updates an iteration.
    assert iterations.images_per_second("plain") == 12.0
    assert updates.images_per_second("none") == 6.0
    assert updates.cost("spectral-norm").count == 3
    # 2 forms for 2 rounds and 12 methods for 3, a second each, is 40 s.
    assert "measuring: about 1 min" in said
    facts = benchmark.machine(CPU)
    values = json.loads(json.dumps(as_values(plan, facts, [iterations, updates])))
    assert values["comparisons"][1]["contenders"]["spectral-norm"]["cost"]["median"] == 1.0
    assert len(values["comparisons"][0]["contenders"]["float32"]["seconds"]) == 2
    text = as_text(plan, facts, [iterations, updates])
    assert all(name in text for name in (*NORMALIZATIONS, TORCHS_OWN, "plain", facts["processor"], facts["torch"]))


def test_torchs_own_bounds_the_same_discriminator(tiny_config: RunConfig) -> None:
    """The comparison is of two implementations of one thing: both leave weights of norm 1."""
    config = tiny_config.override({"discriminator": {"normalization": "none"}})
    state = TrainState.create(config, 3, CPU, torch.float32)
    _apply_torchs_spectral_norm(state)
    state.discriminator.eval()
    norm = matrix_norm(state.discriminator.blocks[1].conv1.normalized_weight().flatten(1), 2).item()
    assert norm == pytest.approx(1.0, abs=0.05)  # torch's 15 first iterations
    optimized = {id(value) for group in state.discriminator_optimizer.param_groups for value in group["params"]}
    assert optimized == {id(value) for value in state.discriminator.parameters()}


def test_the_plain_form_computes_in_nchw(tiny_config: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    layouts = []
    original = torch.nn.functional.conv2d

    def spy(x: torch.Tensor, weight: torch.Tensor, *rest: object, **named: object) -> torch.Tensor:
        layouts.append(x.is_contiguous() and weight.is_contiguous())
        return original(x, weight, *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(torch.nn.functional, "conv2d", spy)
    discriminator_update(tiny_config, "spectral-norm", FORMS["plain"], CPU)()
    assert layouts
    assert all(layouts)


def test_the_rival_is_met_only_where_it_has_the_network() -> None:
    assert "data.image_size = 32, not 16" in str(reason_against(find_preset("digits")))
    same = find_preset("projection/cifar10")
    assert (reason_against(same) is None) == (importlib.util.find_spec("torch_mimicry") is not None)


@needs_rival
def test_the_rival_steps_and_leaves_no_stand_ins() -> None:
    small = {"generator": {"channels": 8}, "discriminator": {"channels": 8}, "optimizer": {"critic_steps": 2}}
    config = find_preset("cifar10").override(small | {"training": {"batch_size": 4}})
    present = {name for name in ("tensorflow", "skimage", "torch._six") if name in sys.modules}
    rival = MimicryTraining(config, 10, CPU)
    assert {name for name in ("tensorflow", "skimage", "torch._six") if name in sys.modules} == present
    before = [network.l1.weight.detach().clone() for network in (rival.generator,)]
    before.append(rival.discriminator.l5.weight.detach().clone())
    rival.iteration(torch.rand(4, 3, 32, 32) * 2 - 1, torch.arange(4))
    assert not torch.equal(before[0], rival.generator.l1.weight)
    assert not torch.equal(before[1], rival.discriminator.l5.weight)
    steps = [next(iter(optimizer.state.values()))["step"].item() for optimizer in
             (rival.discriminator_optimizer, rival.generator_optimizer)]  # fmt: skip
    assert steps == [2, 1]


@needs_rival
def test_our_networks_are_the_rivals() -> None:
    """Like is compared with like: as many weights, ours being the official code's."""
    config = find_preset("projection/cifar10")
    rival = MimicryTraining(config, 10, CPU)
    state = TrainState.create(config, 10, CPU, torch.float32)
    for theirs, ours in ((rival.generator, state.generator), (rival.discriminator, state.discriminator)):
        counts = [sum(value.numel() for value in network.parameters()) for network in (theirs, ours)]
        assert counts[0] == pytest.approx(counts[1], rel=0.001)


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sngan_cli", "bench", "train", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.slow
def test_the_command_prints_json_alone_on_stdout() -> None:
    small = ("--set", "generator.channels=8", "--set", "discriminator.channels=8", "--set", "training.batch_size=4")
    result = bench("--preset", "digits", *small, "--forms", "plain,float32", "--quick",
                   "--threads", "1", "--json")  # fmt: skip
    assert result.returncode == 0, result.stderr
    values = json.loads(result.stdout)
    assert values["machine"]["threads"] == 1
    plain = values["comparisons"][0]["contenders"]["plain"]
    assert plain["seconds_median"] == pytest.approx(statistics.median(plain["seconds"]))
    assert "without mimicry: its conditional network is for data.image_size = 32, not 16" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--forms", "plan"), "--forms 'plan' is unknown; allowed: plain, float32"),
        (("--preset", "digits", "--forms", "mimicry"), "data.image_size = 32, not 16"),
        (("--step-form", "mimicry"), "--step-form"),
        (("--pairs", "1"), "--pairs"),
    ],
)
def test_what_cannot_be_is_one_clear_line(arguments: tuple[str, ...], message: str) -> None:
    result = bench(*arguments)
    assert result.returncode == 2, result.stderr
    assert message in result.stderr
    assert "Traceback" not in result.stderr
