"""Everything that changes while a run goes on, and nothing else."""

from __future__ import annotations

import contextlib
import dataclasses

import torch
from torch import Tensor, nn

from sngan_train.config import OptimizerConfig, RunConfig
from sngan_train.models import Discriminator, Generator, build_discriminator, build_generator
from sngan_train.models.resampling import ResamplingForm
from sngan_train.models.spectral_norm import INITIAL_ITERATIONS, SigmaSource, power_iteration, set_exact_sigma
from sngan_train.runtime import autocast


@dataclasses.dataclass(kw_only=True, slots=True)
class TrainState:
    """What survives a restart: the three networks (with u and v), both optimisers and the step.

    Nothing else has to: every random draw follows from (seed, step), and so does the order of the data.
    """

    generator: Generator
    discriminator: Discriminator
    generator_ema: Generator
    generator_optimizer: torch.optim.Adam
    discriminator_optimizer: torch.optim.Adam
    step: int  # generator updates done
    device: torch.device
    precision: torch.dtype

    @classmethod
    def create(cls, config: RunConfig, num_classes: int, device: torch.device, precision: torch.dtype) -> TrainState:
        """Fresh networks from the config's seed."""
        torch.manual_seed(config.training.seed)
        form = ResamplingForm.FUSED
        generator = build_generator(config, num_classes, source=SigmaSource.POWER_ITERATION, form=form)
        discriminator = build_discriminator(config, num_classes, form=form)
        generator_ema = build_generator(config, num_classes, source=SigmaSource.FIXED, form=form)
        for network in (generator, discriminator, generator_ema):
            network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        for network in (generator, discriminator):
            power_iteration(network, INITIAL_ITERATIONS)
        generator_ema.eval().requires_grad_(False)
        state = cls(
            generator=generator,
            discriminator=discriminator,
            generator_ema=generator_ema,
            generator_optimizer=_adam(generator, config.optimizer.generator_learning_rate, config.optimizer, device),
            discriminator_optimizer=_adam(
                discriminator, config.optimizer.discriminator_learning_rate, config.optimizer, device
            ),
            step=0,
            device=device,
            precision=precision,
        )
        state.update_average(decay=0.0)
        return state

    def autocast(self) -> contextlib.AbstractContextManager[None]:
        """The context of a forward pass."""
        return autocast(self.device, self.precision)

    def set_learning_rates(self, config: OptimizerConfig, total_steps: int) -> None:
        """Both rates for the next step: constant, then linear to 0 from `decay_start` of the run on."""
        start = config.decay_start * total_steps
        progress = 0.0 if self.step <= start else (self.step - start) / (total_steps - start)
        for optimizer, rate in (
            (self.generator_optimizer, config.generator_learning_rate),
            (self.discriminator_optimizer, config.discriminator_learning_rate),
        ):
            for group in optimizer.param_groups:
                group["lr"] = rate * (1.0 - progress)

    @torch.no_grad()
    def update_average(self, decay: float) -> None:
        """Move the averaged generator: raw weights and batch-norm statistics, never u or v.

        Early on the decay is smaller, (1 + step) / (10 + step), so that the average is not one of the first,
        random weights.
        """
        decay = min(decay, (1 + self.step) / (10 + self.step)) if decay else 0.0
        current = self.generator.state_dict()
        averaged, sources = [], []
        for name, average in self.generator_ema.state_dict().items():
            if name.rpartition(".")[2] == "sigma":
                continue  # follows from the weight: `finish_average`
            if average.is_floating_point():
                averaged.append(average)
                sources.append(current[name])
            else:
                average.copy_(current[name])  # num_batches_tracked
        torch._foreach_lerp_(averaged, sources, 1.0 - decay)

    def finish_average(self) -> Generator:
        """The averaged generator with σ exact for its present weights: to be sampled from or written."""
        set_exact_sigma(self.generator_ema)
        return self.generator_ema


@torch.no_grad()
def first_bad_parameter(network: nn.Module) -> str | None:
    """The name of the first parameter that holds a NaN or an infinity, or None."""
    for name, parameter in network.named_parameters():
        if not bool(torch.isfinite(parameter).all()):
            return name
    return None


def _adam(network: nn.Module, rate: float, config: OptimizerConfig, device: torch.device) -> torch.optim.Adam:
    fused = device.type == "cuda"  # one kernel for all parameters
    betas: tuple[float | Tensor, float | Tensor] = (config.beta1, config.beta2)
    return torch.optim.Adam(network.parameters(), lr=rate, betas=betas, fused=fused)
