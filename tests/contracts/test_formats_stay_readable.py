"""Version 1 files, written once and kept: later code must still read them."""

import json
from pathlib import Path

from handlers.metadata import GeneratorMetadata
from sngan_train.config import RunConfig

GOLDEN = Path(__file__).parent.parent / "golden"


def test_generator_metadata_version_1() -> None:
    text = (GOLDEN / "generator_metadata_v1.json").read_text(encoding="utf-8")
    metadata = GeneratorMetadata.from_json(text, "golden file")
    assert metadata.class_names == ("cat", "dog")
    assert (metadata.latent_dim, metadata.channels, metadata.height) == (128, 3, 32)
    assert (metadata.precision, metadata.target) == ("float32", "portable")
    later = {"target": "portable"}  # fields that came later
    assert json.loads(metadata.to_json()) == {**later, **json.loads(text)}


def test_checkpoint_config_version_1() -> None:
    values = json.loads((GOLDEN / "checkpoint_config_v1.json").read_text())
    config = RunConfig.from_dict(values)
    assert config.generator.channels == 64
    assert config.optimizer.discriminator_learning_rate == 4e-4
