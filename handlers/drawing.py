"""Request → pixels: the one path that the server, `sngan sample` and the demo share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from handlers.latents import draw_classes, draw_latents
from handlers.metadata import GeneratorMetadata
from handlers.request import ImageRequest
from handlers.session import GeneratorSession


def labels_of(request: ImageRequest, metadata: GeneratorMetadata) -> NDArray[np.int64] | None:
    """The class id of every image, int64 (n,): those asked for, else the seed's; None without classes."""
    if metadata.num_classes == 0:
        return None
    if request.classes is None:
        return draw_classes(request.seed, range(request.n), metadata.num_classes)
    return np.array(request.classes, dtype=np.int64)


def latents_of(request: ImageRequest, metadata: GeneratorMetadata) -> NDArray[np.float32]:
    """The latents of the images of `request`, given or drawn: float32 (n, latent_dim)."""
    if request.z is not None:
        return np.array(request.z, dtype=np.float32)
    return draw_latents(
        request.seed,
        range(request.n),
        metadata.latent_dim,
        truncation=request.truncation,
        distribution=metadata.latent_distribution,
    )


def draw(session: GeneratorSession, request: ImageRequest) -> NDArray[np.uint8]:
    """The images of `request`: uint8 (n, height, width, channels).

    On the CPU provider image i is the same, byte for byte, whatever `n` is.
    """
    return session.generate_levels(latents_of(request, session.metadata), labels_of(request, session.metadata))
