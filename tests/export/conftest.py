"""Checkpoints of the real training loop, small enough for tests."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from export.archive import write_archive
from export.reference_images import FILE_IMAGES, FILE_PLACES, reference_of
from export.seal import GENERATOR_SEAL, REPORT_SEAL, UNSEALED, seal, sealed_json
from handlers.metadata import METADATA_KEY, GeneratorMetadata
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


def seal_generator(path: Path, metadata: GeneratorMetadata) -> Path:
    """The ONNX file `path` with `metadata`, sealed."""
    provenance = {**metadata.provenance, GENERATOR_SEAL: UNSEALED}
    model = onnx.load(path)
    text = dataclasses.replace(metadata, provenance=provenance).to_json()
    onnx.helper.set_model_props(model, {METADATA_KEY: text})
    path.write_bytes(seal(model.SerializeToString(deterministic=True), GENERATOR_SEAL))
    return path


def tiny_images(z: np.ndarray, labels: np.ndarray | None, metadata: GeneratorMetadata) -> np.ndarray:
    """What the tiny generator of the root conftest draws, in NumPy and float64."""
    pixels = metadata.channels * metadata.height * metadata.width
    weight = np.sin(np.arange(metadata.latent_dim * pixels, dtype=np.float32)).reshape(-1, pixels)
    table = np.cos(np.arange(max(metadata.num_classes, 1) * pixels, dtype=np.float32)).reshape(-1, pixels)
    chosen = table[labels] if labels is not None else table
    shape = (-1, metadata.channels, metadata.height, metadata.width)
    return np.tanh(z.astype(np.float64) @ weight + chosen).reshape(shape)


def write_report(folder: Path, reference: dict[str, Any], **changes: Any) -> None:
    """export_report.json of what is in `folder`; generators are taken to be float32."""
    files: dict[str, dict[str, Any]] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "export_report.json"):
        content = path.read_bytes()
        entry = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        kind = {"precision": "float32", "target": "portable"} if path.suffix == ".onnx" else {}
        files[path.relative_to(folder).as_posix()] = {**entry, **kind}
    report = {"format": "sngan-export/1", "sngan_version": "0.1.0", "files": files, "reference": reference, **changes}
    (folder / "export_report.json").write_bytes(sealed_json(report, REPORT_SEAL))


@pytest.fixture(scope="session")
def tiny_export(
    tmp_path_factory: pytest.TempPathFactory,
    make_generator: Callable[[Path, GeneratorMetadata], Path],
    tiny_metadata: GeneratorMetadata,
) -> Path:
    """A whole export's folder of the tiny generator, for checks; copy it to change it."""
    folder = tmp_path_factory.mktemp("export") / "out"
    folder.mkdir()

    def draw(z: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
        return tiny_images(z, labels, tiny_metadata)

    inside = reference_of(draw, tiny_metadata, images=FILE_IMAGES, places=FILE_PLACES)
    metadata = dataclasses.replace(tiny_metadata, verification={"reference": inside})
    seal_generator(make_generator(folder / "generator.onnx", metadata), metadata)
    write_archive([folder / "generator.onnx"], metadata.version, folder / "sngan.mar")
    (folder / "README.md").write_text("# A model card\n")
    write_report(folder, reference_of(draw, tiny_metadata))
    return folder


@pytest.fixture(scope="session")
def reseal() -> Callable[[Path, GeneratorMetadata], Path]:
    """`seal_generator`."""
    return seal_generator


@pytest.fixture(scope="session")
def report_again() -> Callable[..., None]:
    """`write_report`."""
    return write_report
