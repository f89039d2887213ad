import pytest
import torch

from sngan_train.config import DataConfig
from sngan_train.data import BatchStream, ImageData
from sngan_train.errors import DataError


def noise() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_every_epoch_shows_every_image_once_in_another_order(tiny_data: ImageData) -> None:
    stream = BatchStream(tiny_data, DataConfig(image_size=16, channels=1), batch_size=6, seed=1)
    order = torch.cat([stream.indices(number) for number in range(7)]).tolist()  # 42 = two epochs of 21
    first, second = order[:21], order[21:]
    assert sorted(first) == sorted(second) == list(range(21))
    assert first != second


def test_a_batch_depends_on_its_number_alone(tiny_data: ImageData) -> None:
    config = DataConfig(image_size=16, channels=1, flip=True)
    forwards = BatchStream(tiny_data, config, batch_size=6, seed=1)
    batches = [forwards.batch(number, noise()) for number in range(9)]
    backwards = BatchStream(tiny_data, config, batch_size=6, seed=1)
    for number in reversed(range(9)):
        images, labels = backwards.batch(number, noise())
        assert torch.equal(images, batches[number][0])
        assert torch.equal(labels, batches[number][1])


def test_scaling_is_the_official_one() -> None:
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    data = ImageData(images=levels, labels=torch.zeros(1, dtype=torch.int64), class_names=("a",), origin="levels")
    exact = BatchStream(data, DataConfig(image_size=16, channels=1, dequantize=False), 1, 0).batch(0, noise())[0]
    assert torch.equal(exact.flatten(), torch.arange(256) / 128.0 - 1.0)
    dithered = BatchStream(data, DataConfig(image_size=16, channels=1), 1, 0).batch(0, noise())[0]
    added = (dithered - exact) * 128.0
    assert added.min() >= 0.0
    assert added.max() < 1.0 + 1e-4  # float32 at values near 1
    assert added.std() > 0.2  # uniform on [0, 1) has 0.29


def test_flip_mirrors_about_half(tiny_data: ImageData) -> None:
    config = DataConfig(image_size=16, channels=1, flip=True, dequantize=False)
    stream = BatchStream(tiny_data, config, batch_size=210, seed=0)
    images, _ = stream.batch(0, noise())
    plain = tiny_data.images[stream.indices(0)] / 128.0 - 1.0
    same = (images == plain).flatten(1).all(dim=1)
    mirrored = (images == plain.flip(3)).flatten(1).all(dim=1)
    assert bool((same | mirrored).all())
    assert 70 < int(mirrored.sum()) < 140


def test_a_class_without_images_is_named() -> None:
    images, labels = torch.zeros(2, 1, 16, 16, dtype=torch.uint8), torch.tensor([0, 2])
    with pytest.raises(DataError, match="class 'b' has no images"):
        ImageData(images=images, labels=labels, class_names=("a", "b", "c"), origin="x")


def test_the_hash_follows_pixels_labels_and_names(tiny_data: ImageData) -> None:
    changed = tiny_data.images.clone()
    changed[3, 0, 2, 2] ^= 1
    variants = [
        tiny_data,
        ImageData(images=changed, labels=tiny_data.labels, class_names=("a", "b", "c"), origin="random"),
        ImageData(images=tiny_data.images, labels=tiny_data.labels.flip(0), class_names=("a", "b", "c"), origin=""),
        ImageData(images=tiny_data.images, labels=tiny_data.labels, class_names=("a", "b", "d"), origin="random"),
    ]
    assert len({variant.facts()["sha256"] for variant in variants}) == 4
