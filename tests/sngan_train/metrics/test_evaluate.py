"""A measurement follows from the seed alone: not from batches, processes, caches, or the form of the generator."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sngan_train.checkpoint import open_checkpoint
from sngan_train.config import RunConfig
from sngan_train.data import ImageData
from sngan_train.errors import ConfigError, DataError
from sngan_train.metrics import evaluate as evaluate_module
from sngan_train.metrics.drawing import NetworkDrawer, draw_images, labels_of
from sngan_train.metrics.evaluate import Settings, evaluate
from sngan_train.metrics.measure import measure, open_subject, real_images
from sngan_train.metrics.protocol import Protocol

CPU = torch.device("cpu")
PROTOCOL = Protocol(
    name="test",
    summary="",
    source="",
    real_split="train",
    real_images=400,
    fake_images=150,
    score_sets=2,
    score_images=90,
)
Train = Callable[[RunConfig, ImageData, Path], Path]


@pytest.fixture
def images() -> ImageData:
    """500 images of 3 classes that a linear probe can tell apart, if not surely: by brightness."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(500) % 3
    noise = torch.randint(0, 160, (500, 1, 16, 16), generator=generator)
    return ImageData(
        images=(noise + 40 * labels[:, None, None, None]).to(torch.uint8),
        labels=labels,
        class_names=("a", "b", "c"),
        origin="brightness",
    )


class BrightnessDrawer:
    """Draws what the data are, so every metric has a known answer; `shift` moves it away from them."""

    num_classes = 3
    step = 7
    image_size = 16
    latents = (256, "uniform")

    def __init__(self, shift: int = 0) -> None:
        self.shift = shift
        self.facts: dict[str, Any] = {"kind": "test", "weights": "ema"}

    def draw(self, z: NDArray[np.float32], labels: NDArray[np.int64] | None) -> NDArray[np.uint8]:
        assert labels is not None
        levels = np.floor((z + 1) / 2 * 160) + 40 * labels[:, None] + self.shift
        return np.clip(levels, 0, 255).reshape(-1, 16, 16, 1).astype(np.uint8)


def test_a_perfect_generator_and_a_bad_one(images: ImageData, pixel_extractor: Any) -> None:
    good = evaluate(BrightnessDrawer(), images, pixel_extractor, Settings(protocol=PROTOCOL))
    bad = evaluate(BrightnessDrawer(shift=60), images, pixel_extractor, Settings(protocol=PROTOCOL))
    for name in ("KD(pixels)", "FD(pixels)"):
        assert abs(good.values[name] or 0) < 0.1 * (bad.values[name] or 0), name
    assert good.values["class agreement"] == pytest.approx(good.values["class agreement of real images"], abs=0.1)
    assert (bad.values["class agreement"] or 0) < 0.6 < (good.values["class agreement"] or 0)
    assert (good.values["coverage"] or 0) > (bad.values["coverage"] or 0) + 0.2
    assert good.headline == "FD(pixels)"
    assert any("fewer than 10,000" in note for note in good.notes)


def test_the_record_says_what_was_done(images: ImageData, pixel_extractor: Any) -> None:
    record = evaluate(BrightnessDrawer(), images, pixel_extractor, Settings(protocol=PROTOCOL, seed=5))
    assert record.protocol["real_split"] == "train"
    assert record.protocol["fake_images"] == 150
    assert record.extractor == dataclasses.asdict(pixel_extractor.facts)
    assert record.real["images"] == 400
    assert record.real["image_shape"] == [1, 16, 16]
    assert record.real["sha256"] == images.facts()["sha256"]
    assert (record.seed, record.step, record.generator["weights"]) == (5, 7, "ema")
    assert pixel_extractor.images_seen == 400 + 180


def test_without_a_frechet_distance_the_kernel_distance_is_the_headline(
    images: ImageData, pixel_extractor: Any
) -> None:
    protocol = dataclasses.replace(PROTOCOL, frechet=False)
    record = evaluate(BrightnessDrawer(), images, pixel_extractor, Settings(protocol=protocol))
    assert record.headline == "KD(pixels)"
    assert "FD(pixels)" not in record.values


@pytest.mark.parametrize("batch", [1, 37, 500])
def test_batch_size_changes_nothing(
    images: ImageData, pixel_extractor: Any, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = evaluate(BrightnessDrawer(), images, pixel_extractor, Settings(protocol=PROTOCOL))
    monkeypatch.setattr(evaluate_module, "IMAGES_AT_A_TIME", batch)
    other = evaluate(BrightnessDrawer(), images, pixel_extractor, Settings(protocol=PROTOCOL))
    for name, value in usual.values.items():  # sums in another order: the last digits of float64
        assert other.values[name] == pytest.approx(value, rel=1e-9), name


def test_two_processes_are_one(images: ImageData, pixel_extractor: Any) -> None:
    """Each does its share of the batches; what they gather is what one would have."""
    alone = evaluate(BrightnessDrawer(), images, pixel_extractor, Settings(protocol=PROTOCOL))
    shares: list[Any] = []
    for rank in range(2):
        with pytest.raises(_Gathered) as caught:
            evaluate(
                BrightnessDrawer(),
                images,
                pixel_extractor,
                Settings(protocol=PROTOCOL),
                processes=_Half(rank, None),  # type: ignore[arg-type]
            )
        shares.append(caught.value.args[0])
    both = evaluate(
        BrightnessDrawer(),
        images,
        pixel_extractor,
        Settings(protocol=PROTOCOL),
        processes=_Half(0, shares),  # type: ignore[arg-type]
    )
    for name, value in alone.values.items():
        assert both.values[name] == pytest.approx(value, rel=1e-9), name


class _Gathered(Exception):
    pass


class _Half:
    """Stands in for `Processes`: one of two, whose messages the test carries."""

    world_size = 2

    def __init__(self, rank: int, everybodys: list[Any] | None) -> None:
        self.rank = rank
        self.is_first = rank == 0
        self._everybodys = everybodys

    def in_turn(self) -> Any:
        import contextlib

        return contextlib.nullcontext()

    def gather(self, value: Any) -> list[Any]:
        if self._everybodys is None:
            raise _Gathered(value)
        return self._everybodys


def test_the_cache_is_used_and_goes_by_content(images: ImageData, pixel_extractor: Any, tmp_path: Path) -> None:
    settings = Settings(protocol=PROTOCOL, cache=tmp_path)
    first = evaluate(BrightnessDrawer(), images, pixel_extractor, settings)
    seen = pixel_extractor.images_seen
    again = evaluate(BrightnessDrawer(), images, pixel_extractor, settings)
    assert pixel_extractor.images_seen - seen == 180  # the generated ones alone
    assert again.values == first.values
    changed = dataclasses.replace(images, images=images.images ^ 1)
    evaluate(BrightnessDrawer(), changed, pixel_extractor, settings)
    assert len(list(tmp_path.glob("*.npz"))) == 2
    for path in tmp_path.glob("*.npz"):
        path.write_bytes(path.read_bytes()[:100])  # torn: measured again, not believed
    assert evaluate(BrightnessDrawer(), images, pixel_extractor, settings).values == first.values


def test_class_by_class(images: ImageData, pixel_extractor: Any) -> None:
    protocol = dataclasses.replace(PROTOCOL, per_class=True, real_images=None, fake_images=100)
    record = evaluate(BrightnessDrawer(), images, pixel_extractor, Settings(protocol=protocol))
    assert record.headline == "intra-class FD(pixels)"
    of_classes = [record.values[f"FD(pixels) of {name}"] for name in images.class_names]
    assert record.headline_value == pytest.approx(np.mean([value for value in of_classes if value is not None]))
    assert record.real["images"] == 500
    wrong = evaluate(BrightnessDrawer(shift=40), images, pixel_extractor, Settings(protocol=protocol))
    assert wrong.headline_value > 5 * record.headline_value

    class Unconditional(BrightnessDrawer):
        num_classes = 0

    with pytest.raises(ConfigError, match="unconditional"):
        evaluate(Unconditional(), images, pixel_extractor, Settings(protocol=protocol))


def test_labels_are_shared_out_evenly() -> None:
    assert labels_of(range(2, 7), 3).tolist() == [2, 0, 1, 2, 0]  # type: ignore[union-attr]
    assert labels_of(range(4), 3, only_class=1).tolist() == [1, 1, 1, 1]  # type: ignore[union-attr]
    assert labels_of(range(4), 0) is None


def test_a_run_is_measured_by_its_averaged_or_its_trained_weights(
    tiny_config: RunConfig, tiny_data: ImageData, train_quietly: Train, tmp_path: Path
) -> None:
    train_quietly(tiny_config, tiny_data, tmp_path)
    checkpoint = open_checkpoint(tmp_path)
    drawn = {}
    for weights in ("ema", "raw"):
        subject = open_subject(tmp_path, weights=weights, device=CPU)
        assert subject.drawer.facts["checkpoint_meta_sha256"] == checkpoint.meta_sha256
        assert subject.drawer.facts["weights"] == weights
        drawn[weights], labels = draw_images(subject.drawer, 0, range(6))
        assert labels is not None
    assert not torch.equal(drawn["ema"], drawn["raw"])
    one, _ = draw_images(NetworkDrawer.of_checkpoint(checkpoint, "ema", CPU), 0, range(4, 5))
    assert (one[0].int() - drawn["ema"][4].int()).abs().max() <= 1  # another batch size: the last bits of float32


def test_the_wrong_real_images_are_refused(
    tiny_config: RunConfig, tiny_data: ImageData, train_quietly: Train, tmp_path: Path, images: ImageData
) -> None:
    train_quietly(tiny_config, tiny_data, tmp_path)
    subject = open_subject(tmp_path, weights="ema", device=CPU)
    with pytest.raises(DataError, match="not the images that the generator learned from"):
        real_images(subject, "train", "digits", lambda text: None)
    with pytest.raises(ConfigError, match="no test split"):
        real_images(subject, "test", None, lambda text: None)
    two_classes = dataclasses.replace(images, labels=images.labels % 2, class_names=("a", "b"))
    with pytest.raises(DataError, match="3 classes and the real images 2"):
        measure(subject, two_classes, None, Settings(protocol=PROTOCOL))  # type: ignore[arg-type]
