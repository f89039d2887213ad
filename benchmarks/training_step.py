"""One whole iteration of training against its plain form, interleaved in one run.

    python benchmarks/training_step.py [preset]

Baseline: the same networks, float32, NCHW, resampling apart from the convolutions. Prints the median of the ratios of
neighbouring pairs, with quartiles, since absolute times of a shared machine mean little.
"""

from __future__ import annotations

import statistics
import sys
import time

import torch

from sngan_train.models import build_discriminator, build_generator
from sngan_train.models.resampling import ResamplingForm
from sngan_train.models.spectral_norm import SigmaSource
from sngan_train.presets import find_preset
from sngan_train.runtime import choose_precision
from sngan_train.state import TrainState
from sngan_train.steps import discriminator_step, generator_step

CPU = torch.device("cpu")
NUM_CLASSES = 10
PAIRS = 15
WARM_UP = 2


def ours(preset: str, precision: torch.dtype) -> TrainState:
    return TrainState.create(find_preset(preset), NUM_CLASSES, CPU, precision)


def plain(preset: str) -> TrainState:
    state = ours(preset, torch.float32)
    config = find_preset(preset)
    generator = build_generator(config, NUM_CLASSES, source=SigmaSource.POWER_ITERATION, form=ResamplingForm.PLAIN)
    discriminator = build_discriminator(config, NUM_CLASSES, form=ResamplingForm.PLAIN)
    generator.load_state_dict(state.generator.state_dict())
    discriminator.load_state_dict(state.discriminator.state_dict())
    state.generator, state.discriminator = generator, discriminator
    state.generator_optimizer = torch.optim.Adam(generator.parameters())
    state.discriminator_optimizer = torch.optim.Adam(discriminator.parameters())
    return state


def iteration_s(state: TrainState, preset: str, number: int) -> float:
    config = find_preset(preset)
    noise = torch.Generator().manual_seed(number)
    size, batch = config.data.image_size, config.training.batch_size
    images = torch.rand((batch, config.data.channels, size, size), generator=noise) * 2 - 1
    labels = torch.arange(batch) % NUM_CLASSES
    started = time.perf_counter()
    generator_step(state, batch * config.training.generator_batch_multiple, noise)
    for _ in range(config.optimizer.critic_steps):
        discriminator_step(state, images, labels, noise)
    return time.perf_counter() - started


def main() -> None:
    preset = sys.argv[1] if len(sys.argv) > 1 else "digits"
    baseline = plain(preset)
    automatic = choose_precision("auto", CPU)
    forms = {"float32": ours(preset, torch.float32)}
    if automatic is not torch.float32:
        forms[str(automatic).removeprefix("torch.")] = ours(preset, automatic)
    ratios: dict[str, list[float]] = {name: [] for name in forms}
    for number in range(WARM_UP + PAIRS):
        plain_s = iteration_s(baseline, preset, number)
        for name, state in forms.items():
            ratio = plain_s / iteration_s(state, preset, number)
            if number >= WARM_UP:
                ratios[name].append(ratio)
    for name, values in ratios.items():
        low, middle, high = statistics.quantiles(values, n=4)
        print(f"{preset}: {name} is {middle:.2f} times as fast as plain float32 (quartiles {low:.2f}, {high:.2f})")


if __name__ == "__main__":
    main()
