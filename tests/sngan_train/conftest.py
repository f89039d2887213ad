"""A run small enough for tests: the real networks, 16 pixels, 8 channels, data made here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from sngan_train.config import RunConfig
from sngan_train.data import ImageData
from sngan_train.presets import find_preset


def tiny_run_config() -> RunConfig:
    """The digits preset with everything that costs time made small; float32, so that equality can be exact."""
    return find_preset("digits").override(
        {
            "generator": {"channels": 8, "latent_dim": 8},
            "discriminator": {"channels": 8},
            "spectral_norm": {"lipschitz": 1.5},  # not 1, so that a forgotten factor shows
            "optimizer": {"critic_steps": 2},
            "training": {
                "total_steps": 4,
                "batch_size": 6,
                "precision": "float32",
                "log_every": 1,
                "sample_every": 4,
                "save_every": 2,
            },
        }
    )


@pytest.fixture
def tiny_config() -> RunConfig:
    return tiny_run_config()


@pytest.fixture
def tiny_data() -> ImageData:
    """21 random images of 3 classes: a number that the batch size does not divide."""
    generator = torch.Generator().manual_seed(0)
    return ImageData(
        images=torch.randint(0, 256, (21, 1, 16, 16), dtype=torch.uint8, generator=generator),
        labels=torch.arange(21) % 3,
        class_names=("a", "b", "c"),
        origin="random",
    )


@pytest.fixture
def train_quietly() -> Callable[[RunConfig, ImageData, Path], Path]:
    from sngan_train.loop import train

    def run(config: RunConfig, data: ImageData, run_dir: Path) -> Path:
        return train(config, data, run_dir, torch.device("cpu"), quiet=True)

    return run
