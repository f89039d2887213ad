"""Standing statistics: a generator's batch-norm statistics measured anew for its present weights.

Source: Brock et al. 2019 (BigGAN), appendix; they matter for an averaged generator, whose weights the averaged
statistics need not fit.
"""

from __future__ import annotations

import torch
from torch import nn

from handlers.latents import draw_latents
from sngan_train.models import Generator

BATCH_SIZE = 64
SEED = 1  # of the latents; the fixed sample grids have 0


@torch.no_grad()
def measure_statistics(generator: Generator, num_images: int, num_classes: int) -> None:
    """Set the running means and variances of `generator` to the plain mean over batches of fresh images.

    At least one batch of 64; uniform classes; the same latents whenever it is called. The mode is left as it was.
    """
    norms = [module for module in generator.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over all batches seen since the reset
        norm.train()
    device = next(generator.parameters()).device
    for start in range(0, max(num_images, BATCH_SIZE), BATCH_SIZE):
        indices = range(start, start + BATCH_SIZE)
        latents = draw_latents(SEED, indices, generator.latent_dim, distribution=generator.latent_distribution)
        labels = torch.tensor([index % num_classes for index in indices], device=device)
        generator(torch.from_numpy(latents).to(device), labels)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.training = generator.training
