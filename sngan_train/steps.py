"""One update of one network each; no files, prints, clocks or host synchronisation.

Each step advances the power iteration of the network it updates, and of no other: see
docs/decisions/0003-definition-of-sigma.md.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sngan_train.augmentation import draw_views, view
from sngan_train.models.spectral_norm import power_iteration
from sngan_train.noise import Noise
from sngan_train.objective import Objective
from sngan_train.regularizers.gradient_penalty import gradient_penalty
from sngan_train.regularizers.orthonormal import orthonormal_penalty
from sngan_train.regularizers.spectral_regularization import spectral_penalty
from sngan_train.regularizers.weight_clipping import clip_weights
from sngan_train.state import TrainState


class DiscriminatorOutcome(NamedTuple):
    """What a discriminator update saw: scalars, detached, means over this process's images."""

    loss: Tensor  # the adversarial loss, without penalties
    real_logit: Tensor
    fake_logit: Tensor


def discriminator_step(
    state: TrainState, objective: Objective, images: Tensor, labels: Tensor, noise: Noise
) -> DiscriminatorOutcome:
    """Update D once on real `images` (n, C, S, S), `labels` (n,), and as many fakes.

    n is this process's share of `objective.batch_size`.
    """
    count = objective.batch_size
    power_iteration(state.discriminator)
    fake_labels = noise.integers(state.num_classes, count)
    latents = state.draw_latents(count, noise)
    real_views = draw_views(objective.augmentations, count, noise)
    fake_views = draw_views(objective.augmentations, count, noise)
    epsilon = noise.uniform(count, 1, 1, 1) if objective.gradient_penalty else None

    state.discriminator_optimizer.zero_grad(set_to_none=True)
    outcomes = []
    for part in objective.parts(len(images)):
        with state.autocast():
            with torch.no_grad():
                fakes = state.generator(latents[part], fake_labels[part]).float()
            real = view(images[part], _rows(real_views, part))
            fake = view(fakes, _rows(fake_views, part))
            real_logits, fake_logits = _logits(state, objective, real, labels[part], fake, fake_labels[part])
        adversarial = objective.loss.discriminator(real_logits, fake_logits)
        total = adversarial
        if epsilon is not None:
            penalty = gradient_penalty(state.discriminator, real, fake, labels[part], epsilon[part])
            total = total + objective.gradient_penalty * penalty
        (total / objective.accumulation_steps).backward()  # type: ignore[no-untyped-call]
        outcomes.append(torch.stack([adversarial, real_logits.mean(), fake_logits.mean()]).detach())
    if objective.orthonormal:
        (objective.orthonormal * orthonormal_penalty(state.discriminator)).backward()  # type: ignore[no-untyped-call]
    if objective.spectral:
        (objective.spectral * spectral_penalty(state.discriminator)).backward()  # type: ignore[no-untyped-call]
    state.update_discriminator()
    if objective.clip_at:
        clip_weights(state.discriminator, objective.clip_at)
    return DiscriminatorOutcome(*torch.stack(outcomes).mean(dim=0))


def generator_step(state: TrainState, objective: Objective, noise: Noise) -> Tensor:
    """Update G once on `objective.generator_batch_size` fakes of random classes; gives the loss, a scalar."""
    count = objective.generator_batch_size
    power_iteration(state.generator)
    labels = noise.integers(state.num_classes, count)
    latents = state.draw_latents(count, noise)
    views = draw_views(objective.augmentations, count, noise)

    state.generator_optimizer.zero_grad(set_to_none=True)
    state.discriminator.requires_grad_(False)  # its weights' gradients would be thrown away
    losses = []
    for part in objective.parts(len(latents)):
        with state.autocast():
            fakes = view(state.generator(latents[part], labels[part]), _rows(views, part))
            logits = state.discriminator(fakes, labels[part])
        loss = objective.loss.generator(logits)
        (loss / objective.accumulation_steps).backward()  # type: ignore[no-untyped-call]
        losses.append(loss.detach())
    state.discriminator.requires_grad_(True)
    state.update_generator()
    return torch.stack(losses).mean()


def _logits(
    state: TrainState, objective: Objective, real: Tensor, real_labels: Tensor, fake: Tensor, fake_labels: Tensor
) -> tuple[Tensor, Tensor]:
    """D of real and of generated images; the values of the two forms differ only where D has batch statistics."""
    if not objective.joined:
        return state.discriminator(real, real_labels), state.discriminator(fake, fake_labels)
    both = torch.cat([real, fake]).contiguous(memory_format=state.memory_format)
    logits = state.discriminator(both, torch.cat([real_labels, fake_labels]))
    return logits[: len(real)], logits[len(real) :]


def _rows(draws: dict[str, Tensor], part: slice) -> dict[str, Tensor]:
    return {name: values[part] for name, values in draws.items()}
