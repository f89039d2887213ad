import pytest
import torch

from sngan_train.config import DataConfig
from sngan_train.data import BatchStream, ImageData, same_data
from sngan_train.errors import DataError
from sngan_train.noise import Noise


def noise(rank: int = 0, world_size: int = 1) -> Noise:
    return Noise(generator=torch.Generator().manual_seed(0), rank=rank, world_size=world_size)


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


def test_two_processes_see_the_halves_of_what_one_sees(tiny_data: ImageData) -> None:
    config = DataConfig(image_size=16, channels=1, flip=True)
    for number in (0, 3):  # the fourth batch runs into the second epoch
        whole = BatchStream(tiny_data, config, batch_size=6, seed=1).batch(number, noise())
        halves = [
            BatchStream(tiny_data, config, batch_size=6, seed=1).batch(number, noise(rank, world_size=2))
            for rank in range(2)
        ]
        assert [len(labels) for _, labels in halves] == [3, 3]
        assert torch.equal(torch.cat([images for images, _ in halves]), whole[0])
        assert torch.equal(torch.cat([labels for _, labels in halves]), whole[1])


def test_looking_ahead_over_an_epochs_end_orders_each_epoch_once(
    tiny_data: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    original = torch.randperm
    monkeypatch.setattr(torch, "randperm", lambda *args, **kwargs: asked.append(1) or original(*args, **kwargs))
    stream = BatchStream(tiny_data, DataConfig(image_size=16, channels=1), batch_size=6, seed=1)
    for number in range(14):  # four epochs
        for ahead in range(4):
            stream.indices(number + ahead)
    assert len(asked) == 5  # four, and the one that was looked into


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


@pytest.mark.parametrize(
    ("before", "now", "same"),
    [
        (("pixels", "files"), ("pixels", "files"), True),
        (("pixels", "files"), ("others", "files"), False),  # both were in memory: the pixels decide
        (("pixels", "files"), ("files", "files"), True),  # streamed since
        (("pixels", "files"), ("fewer", "fewer"), False),
        (("files", "files"), ("pixels", "files"), True),
        (("pixels", ""), ("pixels", ""), True),
        (("pixels", None), ("pixels", "files"), True),  # remembered before there was a hash of the files
        (("pixels", ""), ("files", "files"), False),
    ],
)
def test_which_hash_decides_whether_data_is_the_same(
    before: tuple[str, str | None], now: tuple[str, str], same: bool
) -> None:
    facts = [{"sha256": pixels} | ({} if files is None else {"files_sha256": files}) for pixels, files in (before, now)]
    assert same_data(*facts) is same


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


@pytest.mark.gpu
def test_batches_are_the_same_from_the_gpus_memory_and_from_the_hosts(
    tiny_data: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda = torch.device("cuda")
    there = tiny_data.to(cuda)
    monkeypatch.setattr("sngan_train.data.DEVICE_SHARE", 0.0)
    here = tiny_data.to(cuda)
    assert (there.images.device.type, here.images.device.type) == ("cuda", "cpu")
    indices = torch.tensor([3, 0, 20])
    for one, other in zip(there.fetch(indices), here.fetch(indices), strict=True):
        assert one.device.type == other.device.type == "cuda"
        assert torch.equal(one, other)
