"""What is measured of a run is what is measured of the file exported from it."""

import dataclasses
from pathlib import Path

import pytest
import torch

from export.pipeline import export_run
from sngan_train.data import ImageData
from sngan_train.errors import ConfigError
from sngan_train.metrics.drawing import draw_images
from sngan_train.metrics.evaluate import Settings
from sngan_train.metrics.extractor import load_extractor
from sngan_train.metrics.measure import measure, open_subject
from sngan_train.metrics.protocol import PROTOCOLS
from sngan_train.metrics.record import differences
from sngan_train.presets import find_preset

CPU = torch.device("cpu")
# Both draw in float32, in another order of sums: a grey level at a rounding boundary may fall either way.
LARGEST_LEVEL_DIFFERENCE = 1
LARGEST_SHARE_OF_LEVELS = 1e-3
LARGEST_RELATIVE_DIFFERENCE = 1e-3


def trained(run: Path) -> ImageData:
    """A run of a few steps on random images; float32, conditional."""
    from sngan_train.loop import train

    config = find_preset("digits").override(
        {
            "generator": {"channels": 8, "latent_dim": 8},
            "discriminator": {"channels": 8},
            "training": {"total_steps": 3, "batch_size": 6, "precision": "float32"},
        }
    )
    generator = torch.Generator().manual_seed(0)
    data = ImageData(
        images=torch.randint(0, 256, (60, 1, 16, 16), dtype=torch.uint8, generator=generator),
        labels=torch.arange(60) % 3,
        class_names=("a", "b", "c"),
        origin="random",
    )
    train(config, data, run, CPU, quiet=True)
    return data


@pytest.mark.slow
def test_a_run_and_its_file_get_the_same_values(tmp_path: Path) -> None:
    data = trained(tmp_path / "run")
    file = export_run(tmp_path / "run", tmp_path / "export").generator
    of_run = open_subject(tmp_path / "run", weights="ema", device=CPU)
    of_file = open_subject(file, weights="ema", device=CPU)

    run_images, run_labels = draw_images(of_run.drawer, 3, range(90))
    file_images, file_labels = draw_images(of_file.drawer, 3, range(90))
    assert (run_labels == file_labels).all()  # type: ignore[union-attr]
    apart = (run_images.int() - file_images.int()).abs()
    assert apart.max() <= LARGEST_LEVEL_DIFFERENCE
    assert (apart > 0).float().mean() <= LARGEST_SHARE_OF_LEVELS

    few = dataclasses.replace(PROTOCOLS["quick"], real_images=60, fake_images=90, score_images=90)
    extractor = load_extractor("efficientnet-lite0", CPU)
    records = [measure(subject, data, extractor, Settings(protocol=few)) for subject in (of_run, of_file)]
    assert not differences(*records)
    assert [record.generator["kind"] for record in records] == ["run", "onnx"]
    assert records[0].generator["checkpoint_meta_sha256"] == records[1].generator["checkpoint_meta_sha256"]
    for name, value in records[0].values.items():
        assert records[1].values[name] == pytest.approx(value, rel=LARGEST_RELATIVE_DIFFERENCE), name


def test_a_file_holds_no_raw_weights(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="averaged generator alone"):
        open_subject(tmp_path / "generator.onnx", weights="raw", device=CPU)
