"""Everything that changes while a run goes on, and nothing else."""

from __future__ import annotations

import contextlib
import dataclasses

import torch
from torch import Tensor, nn

from sngan_train.config import OptimizerConfig, RunConfig
from sngan_train.distributed import Processes
from sngan_train.models import Discriminator, Generator, build_discriminator, build_generator
from sngan_train.models.feature_norm import STATISTICS
from sngan_train.models.resampling import ResamplingForm
from sngan_train.models.spectral_norm import INITIAL_ITERATIONS, SigmaSource, power_iteration, set_exact_sigma
from sngan_train.noise import Noise
from sngan_train.runtime import autocast
from sngan_train.standing_statistics import measure_statistics


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
    num_classes: int
    standing_statistics: int  # images to measure the average's batch statistics on; 0 averages them instead
    device: torch.device
    precision: torch.dtype
    memory_format: torch.memory_format
    processes: Processes

    @classmethod
    def create(
        cls,
        config: RunConfig,
        num_classes: int,
        device: torch.device,
        precision: torch.dtype,
        processes: Processes | None = None,
        form: ResamplingForm = ResamplingForm.FUSED,
    ) -> TrainState:
        """Fresh networks from the config's seed."""
        torch.manual_seed(config.training.seed)
        generator = build_generator(config, num_classes, source=SigmaSource.POWER_ITERATION, form=form)
        discriminator = build_discriminator(config, num_classes, form=form)
        generator_ema = build_generator(config, num_classes, source=SigmaSource.FIXED, form=form)
        # The plain form is the reference that benchmarks and tests compare with: NCHW.
        memory_format = torch.channels_last if form is ResamplingForm.FUSED else torch.contiguous_format
        for network in (generator, discriminator, generator_ema):
            network.to(device=device, memory_format=memory_format)  # type: ignore[call-overload]
        for network in (generator, discriminator):
            power_iteration(network, INITIAL_ITERATIONS)
        generator_ema.eval().requires_grad_(False)
        optimizer = config.optimizer
        state = cls(
            generator=generator,
            discriminator=discriminator,
            generator_ema=generator_ema,
            generator_optimizer=_adam(generator, optimizer.generator_learning_rate, optimizer, device),
            discriminator_optimizer=_adam(discriminator, optimizer.discriminator_learning_rate, optimizer, device),
            step=0,
            num_classes=num_classes,
            standing_statistics=config.training.standing_statistics,
            device=device,
            precision=precision,
            memory_format=memory_format,
            processes=processes or Processes(),
        )
        state.update_average(decay=0.0)
        return state

    def compile(self) -> None:
        """Have torch compile the two networks that are trained; their names and state dicts stay as they are."""
        self.generator.compile(dynamic=False)
        self.discriminator.compile(dynamic=False)

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The two that are trained, by name, in the order in which a NaN would reach them."""
        return {"discriminator": self.discriminator, "generator": self.generator}

    def learning_rates(self) -> dict[str, float]:
        """Both rates of the last step, by the name they are logged under."""
        return {
            "generator_learning_rate": self.generator_optimizer.param_groups[0]["lr"],
            "discriminator_learning_rate": self.discriminator_optimizer.param_groups[0]["lr"],
        }

    def autocast(self) -> contextlib.AbstractContextManager[None]:
        """The context of a forward pass."""
        return autocast(self.device, self.precision)

    def draw_latents(self, count: int, noise: Noise) -> Tensor:
        """This process's rows of an update's `count` latents: float32 (n, latent_dim)."""
        if self.generator.latent_distribution == "uniform":
            return 2.0 * noise.uniform(count, self.generator.latent_dim) - 1.0
        return noise.normal(count, self.generator.latent_dim)

    def update_generator(self) -> None:
        """Move G along its gradients, averaged over the processes."""
        self.processes.average_gradients(self.generator)
        self.generator_optimizer.step()

    def update_discriminator(self) -> None:
        """Move D along its gradients, averaged over the processes."""
        self.processes.average_gradients(self.discriminator)
        self.discriminator_optimizer.step()

    def set_learning_rates(self, config: OptimizerConfig, total_steps: int) -> None:
        """Both rates for the next step."""
        factor = config.learning_rate_factor(self.step, total_steps)
        for optimizer, rate in (
            (self.generator_optimizer, config.generator_learning_rate),
            (self.discriminator_optimizer, config.discriminator_learning_rate),
        ):
            for group in optimizer.param_groups:
                group["lr"] = rate * factor

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
            kind = name.rpartition(".")[2]
            if kind == "sigma" or (kind in STATISTICS and self.standing_statistics):
                continue  # follows from the weights: `finish_average`
            if average.is_floating_point():
                averaged.append(average)
                sources.append(current[name])
            else:
                average.copy_(current[name])  # num_batches_tracked
        torch._foreach_lerp_(averaged, sources, 1.0 - decay)

    def finish_average(self) -> Generator:
        """The averaged generator with all that follows from its present weights: to be sampled from or written.

        That is σ, and the batch statistics if they are not averages.
        """
        set_exact_sigma(self.generator_ema)
        if self.standing_statistics:
            measure_statistics(self.generator_ema, self.standing_statistics, self.num_classes)
        return self.generator_ema


def _adam(network: nn.Module, rate: float, config: OptimizerConfig, device: torch.device) -> torch.optim.Adam:
    betas: tuple[float | Tensor, float | Tensor] = (config.beta1, config.beta2)
    return torch.optim.Adam(network.parameters(), lr=rate, betas=betas, fused=True)
