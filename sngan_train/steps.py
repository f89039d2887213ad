"""One update of one network each; no files, prints, clocks or host synchronisation.

Each step advances the power iteration of the network it updates, and of no other: see
docs/decisions/0003-definition-of-sigma.md.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sngan_train.losses import hinge_discriminator_loss, hinge_generator_loss
from sngan_train.models.spectral_norm import power_iteration
from sngan_train.state import TrainState


def discriminator_step(state: TrainState, images: Tensor, labels: Tensor, noise: torch.Generator) -> Tensor:
    """Update D once on real `images` (N, C, S, S), `labels` (N,), and as many fakes; gives the loss, a scalar.

    Real and fake share one forward pass: D has no batch statistics, so the values are those of two.
    """
    batch_size = len(images)
    power_iteration(state.discriminator)
    fake_labels = _random_labels(state, batch_size, noise)
    with state.autocast():
        with torch.no_grad():
            fakes = state.generator(_random_latents(state, batch_size, noise), fake_labels)
        both = torch.cat([images, fakes.float()]).contiguous(memory_format=torch.channels_last)
        logits = state.discriminator(both, torch.cat([labels, fake_labels]))
    loss = hinge_discriminator_loss(logits[:batch_size], logits[batch_size:])
    state.discriminator_optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    state.discriminator_optimizer.step()
    return loss.detach()


def generator_step(state: TrainState, batch_size: int, noise: torch.Generator) -> Tensor:
    """Update G once on `batch_size` fakes of random classes; gives the loss, a scalar."""
    power_iteration(state.generator)
    labels = _random_labels(state, batch_size, noise)
    state.discriminator.requires_grad_(False)  # its weights' gradients would be thrown away
    with state.autocast():
        fakes = state.generator(_random_latents(state, batch_size, noise), labels)
        logits = state.discriminator(fakes, labels)
    loss = hinge_generator_loss(logits)
    state.generator_optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    state.generator_optimizer.step()
    state.discriminator.requires_grad_(True)
    return loss.detach()


def _random_latents(state: TrainState, count: int, noise: torch.Generator) -> Tensor:
    """Latents z ~ N(0, I): float32 (count, latent_dim)."""
    return torch.randn((count, state.generator.latent_dim), generator=noise, device=state.device)


def _random_labels(state: TrainState, count: int, noise: torch.Generator) -> Tensor:
    """Uniform over the classes: int64 (count,)."""
    num_classes = state.discriminator.class_embedding.num_embeddings
    return torch.randint(num_classes, (count,), generator=noise, device=state.device)
