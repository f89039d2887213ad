"""What `sngan bench train` times: whole iterations in several forms, and discriminator updates by method.

A contender is called without arguments and does its work once. Images are random and already on the device: reading
data is not measured.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.utils import parametrizations

from sngan_train.config import RunConfig
from sngan_train.mimicry import MimicryTraining
from sngan_train.models import weight_layers
from sngan_train.models.resampling import ResamplingForm
from sngan_train.noise import Noise
from sngan_train.objective import Objective
from sngan_train.state import TrainState
from sngan_train.steps import discriminator_step, generator_step

NUM_CLASSES = 10
RECOMPILE_LIMIT = 1000  # per function, and here many networks share one
TORCHS_OWN = "spectral-norm by torch.nn.utils"  # beside the methods of `config.NORMALIZATIONS`

Contender = Callable[[], None]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Form:
    """One way to compute the same training."""

    precision: torch.dtype
    resampling: ResamplingForm = ResamplingForm.FUSED  # FUSED is channels-last as well
    compiled: bool = False


FORMS = {
    "plain": Form(precision=torch.float32, resampling=ResamplingForm.PLAIN),
    "float32": Form(precision=torch.float32),
    "float32-compiled": Form(precision=torch.float32, compiled=True),
    "bfloat16": Form(precision=torch.bfloat16),
    "bfloat16-compiled": Form(precision=torch.bfloat16, compiled=True),
}


def training_iteration(config: RunConfig, form: Form, device: torch.device) -> Contender:
    """One iteration as the training loop does it: a generator update, the critic's, and the running average."""
    state = _create(config, form, device)
    objective = Objective.of(config)
    images, labels = random_batch(config, device)
    noise = _noise(device)
    if form.compiled:
        _compile(state)

    def iterate() -> None:
        generator_step(state, objective, noise)
        for _ in range(config.optimizer.critic_steps):
            discriminator_step(state, objective, images, labels, noise)
        state.step += 1
        state.update_average(config.training.ema_decay)

    return iterate


def mimicry_iteration(config: RunConfig, device: torch.device) -> Contender:
    """One iteration of torch-mimicry with the same batch and number of critic steps."""
    rival = MimicryTraining(config, NUM_CLASSES, device)
    images, labels = random_batch(config, device)
    return lambda: rival.iteration(images, labels)


def discriminator_update(config: RunConfig, method: str, form: Form, device: torch.device) -> Contender:
    """One discriminator update where `method`, a normalization or TORCHS_OWN, keeps the discriminator in bounds."""
    normalization = "none" if method == TORCHS_OWN else method
    changes = {"discriminator": {"normalization": normalization, "gradient_penalty": False}}
    config = config.override(changes)
    state = _create(config, form, device)
    if method == TORCHS_OWN:
        _apply_torchs_spectral_norm(state)
    objective = Objective.of(config)
    images, labels = random_batch(config, device)
    noise = _noise(device)
    if form.compiled:
        _compile(state)

    def update() -> None:
        discriminator_step(state, objective, images, labels, noise)

    return update


def random_batch(config: RunConfig, device: torch.device) -> tuple[Tensor, Tensor]:
    """A batch as the loop sees it: images (N, C, S, S) in [-1, 1] and labels (N,)."""
    size, count = config.data.image_size, config.training.batch_size
    images = torch.rand((count, config.data.channels, size, size), generator=torch.Generator().manual_seed(0))
    return (images * 2.0 - 1.0).to(device), (torch.arange(count) % NUM_CLASSES).to(device)


def _create(config: RunConfig, form: Form, device: torch.device) -> TrainState:
    return TrainState.create(config, NUM_CLASSES, device, form.precision, form=form.resampling)


def _apply_torchs_spectral_norm(state: TrainState) -> None:
    for _, layer in weight_layers(state.discriminator):
        parametrizations.spectral_norm(layer, dim=layer.output_dim)
    before = state.discriminator_optimizer.param_groups[0]
    state.discriminator_optimizer = torch.optim.Adam(
        state.discriminator.parameters(), lr=before["lr"], betas=before["betas"], fused=True
    )


def _noise(device: torch.device) -> Noise:
    return Noise(generator=torch.Generator(device).manual_seed(0))


def _compile(state: TrainState) -> None:
    """As training does, and an error where the compiler would otherwise fall back to eager without a word."""
    torch._dynamo.config.recompile_limit = RECOMPILE_LIMIT
    torch._dynamo.config.accumulated_recompile_limit = RECOMPILE_LIMIT
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    state.compile()
