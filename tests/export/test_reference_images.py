"""The reference against a generator that is written down here in NumPy, and against the same one with a fault."""

import dataclasses
import json
from collections.abc import Callable

import numpy as np
import pytest

from export.errors import VerificationError
from export.reference_images import (
    FILE_IMAGES,
    FILE_PLACES,
    FLOAT32_ATOL,
    PSNR_FLOORS_DB,
    Differences,
    compare,
    reference_of,
    require_close,
    spread_labels,
)
from handlers.latents import draw_latents
from handlers.metadata import GeneratorMetadata

RGB = GeneratorMetadata(
    name="m", version="1", latent_dim=6, class_names=tuple("abcde"), channels=3, height=8, width=8, color_mode="RGB"
)
GREY = dataclasses.replace(RGB, channels=1, color_mode="L", class_names=(), latent_distribution="uniform")
Weights = dict[str, np.ndarray]


def weights_of(metadata: GeneratorMetadata, seed: int = 0) -> Weights:
    random = np.random.default_rng(seed)
    pixels = metadata.channels * metadata.height * metadata.width
    return {
        "weight": random.normal(size=(metadata.latent_dim, pixels)),
        "table": random.normal(size=(max(metadata.num_classes, 1), pixels)),
    }


def drawing(metadata: GeneratorMetadata, weights: Weights, change: Callable = lambda images: images) -> Callable:
    def draw(z: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
        assert z.dtype == np.float32
        assert (labels is None) == (metadata.num_classes == 0)
        shift = weights["table"][labels] if labels is not None else weights["table"]
        flat = np.tanh(0.3 * (z @ weights["weight"]) + shift)
        images = flat.reshape(-1, metadata.channels, metadata.height, metadata.width)
        return change(images).astype(np.float32)

    return draw


@pytest.mark.parametrize("metadata", [RGB, GREY, dataclasses.replace(RGB, default_truncation=0.5)])
def test_the_same_generator_is_as_close_as_rounding(metadata: GeneratorMetadata) -> None:
    draw = drawing(metadata, weights_of(metadata))
    found = compare(reference_of(draw, metadata), draw, metadata)
    assert found.images == 64
    assert 0 < found.max_abs <= 1e-6  # half of the sixth decimal, and float32's own rounding
    assert "64 images" in require_close(found, "float32")


def test_what_is_kept() -> None:
    metadata = dataclasses.replace(RGB, default_truncation=0.5)
    draw = drawing(metadata, weights_of(metadata))
    reference = reference_of(draw, metadata)
    z = draw_latents(0, range(64), 6, truncation=0.5)
    labels = np.arange(64) % 5
    images = draw(z, labels).reshape(64, -1)
    assert reference["labels"] == labels.tolist()
    assert reference["truncation"] == 0.5
    assert len(set(reference["places"])) == 64
    assert np.allclose(reference["values"], images[:, reference["places"]], rtol=0, atol=1e-6)
    assert np.allclose(reference["means"], images.mean(1), rtol=0, atol=1e-6)
    assert np.allclose(reference["standard_deviations"], images.std(1), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("size", "limit"), [({}, 60_000), ({"images": FILE_IMAGES, "places": FILE_PLACES}, 4_500)])
def test_it_is_small(size: dict[str, int], limit: int) -> None:
    metadata = dataclasses.replace(RGB, height=128, width=128)
    reference = reference_of(drawing(metadata, weights_of(metadata)), metadata, **size)
    assert len(json.dumps(reference)) <= limit


@pytest.mark.parametrize("size", [{}, {"images": FILE_IMAGES, "places": FILE_PLACES}], ids=["report", "file"])
@pytest.mark.parametrize(
    "fault",
    [
        lambda weights: {**weights, "table": weights["table"][[1, 0, 2, 3, 4]]},
        lambda weights: {**weights, "table": weights["table"] + 0.01 * (np.arange(5) == 3)[:, None]},
        lambda weights: {**weights, "weight": weights["weight"] * np.where(np.arange(6) == 2, -1, 1)[:, None]},
    ],
    ids=["two classes swapped", "one class shifted", "one row's sign"],
)
def test_a_fault_in_the_weights_is_found(fault: Callable[[Weights], Weights], size: dict[str, int]) -> None:
    weights = weights_of(RGB)
    reference = reference_of(drawing(RGB, weights), RGB, **size)
    found = compare(reference, drawing(RGB, fault(weights)), RGB)
    with pytest.raises(VerificationError, match="draws other images than the trained generator"):
        require_close(found, "float32")


@pytest.mark.parametrize(
    "fault",
    [
        lambda images: images[:, ::-1],
        lambda images: images[..., ::-1],
        lambda images: np.swapaxes(images, 2, 3),
        lambda images: -images,
        lambda images: images + 2e-3,
        lambda images: images[::-1],
    ],
    ids=["channels", "mirrored", "transposed", "negative", "lighter", "order"],
)
def test_a_fault_in_the_images_is_found(fault: Callable) -> None:
    weights = weights_of(RGB)
    reference = reference_of(drawing(RGB, weights), RGB, images=FILE_IMAGES, places=FILE_PLACES)
    assert compare(reference, drawing(RGB, weights, fault), RGB).max_abs > FLOAT32_ATOL


def test_psnr_is_the_textbook_one() -> None:
    weights = weights_of(RGB)
    reference = reference_of(drawing(RGB, weights), RGB)
    found = compare(reference, drawing(RGB, weights, lambda images: images + 0.02), RGB)
    assert found.psnr_db == pytest.approx(20 * np.log10(2 / 0.02), abs=0.01)


@pytest.mark.parametrize("precision", PSNR_FLOORS_DB)
def test_lower_precisions_are_judged_by_psnr(precision: str) -> None:
    floor = PSNR_FLOORS_DB[precision]
    assert "dB" in require_close(Differences(images=64, max_abs=0.3, psnr_db=floor), precision)
    with pytest.raises(VerificationError, match=f"at least {floor:.0f} dB"):
        require_close(Differences(images=64, max_abs=0.001, psnr_db=floor - 0.1), precision)


def test_numbers_that_cannot_be_right_are_refused() -> None:
    draw = drawing(RGB, weights_of(RGB))
    reference = reference_of(draw, RGB)
    with pytest.raises(VerificationError, match=r"shape \(64, 3, 8, 8\), and not \(64, 3, 9, 8\)"):
        compare(reference, draw, dataclasses.replace(RGB, height=9))
    with pytest.raises(VerificationError, match="not finite"):
        compare(reference, drawing(RGB, weights_of(RGB), lambda images: images * np.nan), RGB)
    for broken in (
        {**reference, "labels": None},
        {**reference, "places": []},
        {**reference, "places": [10_000]},
        {**reference, "indices": []},
        {**reference, "seed": -1},
        {**reference, "values": reference["values"][:-1]},
        {key: value for key, value in reference.items() if key != "means"},
    ):
        with pytest.raises(VerificationError, match="reference images cannot be used"):
            compare(broken, draw, RGB)


@pytest.mark.parametrize("num_classes", [1, 3, 64, 65, 1000])
def test_which_classes_are_met(num_classes: int) -> None:
    met = set(spread_labels(64, num_classes).tolist())
    assert len(met) == min(num_classes, 64)
    assert {0, num_classes - 1} <= met <= set(range(num_classes))
