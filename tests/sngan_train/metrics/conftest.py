"""A feature extractor that costs nothing: a fixed linear map of the pixels."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sngan_train.metrics.extractor import ExtractorFacts, Features

DIMENSION, LOGITS = 12, 5


class PixelExtractor:
    """Features of 16 × 16 pixels in float64, then rounded; so an image's features are its own to the last bit."""

    facts = ExtractorFacts(
        name="pixels", feature_dim=DIMENSION, input_size=16, resize="none", precision="float32", weights_sha256="0" * 64
    )

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.map = torch.randn(256, DIMENSION + LOGITS, generator=generator, dtype=torch.float64) / 16
        self.images_seen = 0

    def __call__(self, images: Tensor) -> Features:
        self.images_seen += len(images)
        pixels = images.double().mean(dim=1).flatten(1) / 255
        both = torch.stack([(pixel[:, None] * self.map).sum(dim=0) for pixel in pixels]).float()
        return Features(features=both[:, :DIMENSION], logits=both[:, DIMENSION:])


@pytest.fixture
def pixel_extractor() -> PixelExtractor:
    return PixelExtractor()
