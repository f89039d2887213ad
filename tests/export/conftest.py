"""Checkpoints of the real training loop, small enough for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from sngan_train.data import ImageData
from sngan_train.presets import find_preset

LIPSCHITZ = 1.5  # not 1, so that a forgotten factor shows


def train_tiny(run: Path, channels: int, settings: dict[str, dict[str, Any]]) -> Path:
    """A finished run of 3 classes."""
    from sngan_train.loop import train

    common = {
        "discriminator": {"channels": 8},
        "spectral_norm": {"lipschitz": LIPSCHITZ},
        "training": {"total_steps": 4, "batch_size": 6, "precision": "float32"},
    }
    config = find_preset("digits").override(common).override(settings)
    size = config.data.image_size
    generator = torch.Generator().manual_seed(0)
    data = ImageData(
        images=torch.randint(0, 256, (21, channels, size, size), dtype=torch.uint8, generator=generator),
        labels=torch.arange(21) % 3,
        class_names=("plain", "with space & 'quotes'", "Ünïcode 猫"),
        origin="random",
    )
    train(config, data, run, torch.device("cpu"), quiet=True)
    return run


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Conditional residual network at 16 pixels, one channel; do not change it."""
    settings = {"generator": {"channels": 8, "latent_dim": 8}}
    return train_tiny(tmp_path_factory.mktemp("runs") / "tiny", 1, settings)


@pytest.fixture(scope="session")
def tiny_cnn_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unconditional standard CNN with uniform latents at 32 pixels, RGB; do not change it."""
    settings = {
        "data": {"image_size": 32, "channels": 3},
        "generator": {
            "network": "cnn",
            "channels": 4,
            "latent_dim": 8,
            "latent_distribution": "uniform",
            "spectral_norm": True,
        },
        "discriminator": {"conditioning": "none"},
    }
    return train_tiny(tmp_path_factory.mktemp("runs") / "tiny-cnn", 3, settings)
