"""Streaming gives what memory gives, and stops cleanly at a broken file."""

import gc
import threading
import time
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sngan_train.config import DataConfig
from sngan_train.data import READ_AHEAD, BatchStream, ImageData, ImageSource
from sngan_train.errors import DataError
from sngan_train.folder import load_folder
from sngan_train.noise import Noise
from sngan_train.streaming import WORKERS, StreamedImages, hash_files, in_parallel

BATCH_SIZE = 6


def config(residency: str = "stream", channels: int = 3) -> DataConfig:
    return DataConfig(image_size=16, channels=channels, flip=True, residency=residency)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """21 random colour images of three classes and several sizes."""
    random = np.random.default_rng(0)
    for index in range(21):
        file = tmp_path / "images" / "abc"[index % 3] / f"{index:02}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (16 + index, 20, 3), np.uint8)).save(file)
    return tmp_path / "images"


def load(path: Path, residency: str = "stream", channels: int = 3) -> ImageSource:
    return load_folder(path, config(residency, channels), lambda text: None)


def batch(stream: BatchStream, number: int) -> tuple[torch.Tensor, torch.Tensor]:
    return stream.batch(number, Noise(generator=torch.Generator().manual_seed(number)))


@pytest.mark.parametrize("channels", [1, 3])
def test_batches_are_those_of_memory_bit_for_bit(pictures: Path, channels: int) -> None:
    held, streamed = load(pictures, "memory", channels), load(pictures, "stream", channels)
    assert isinstance(held, ImageData)
    assert isinstance(streamed, StreamedImages)
    one, other = (BatchStream(data, config(), BATCH_SIZE, seed=3) for data in (held, streamed))
    for number in (0, 1, 2, 3, 4, 9, 2):  # in order over the end of an epoch, then jumping
        (expected, expected_labels), (images, labels) = batch(one, number), batch(other, number)
        assert torch.equal(images, expected)
        assert torch.equal(labels, expected_labels)
        assert images.stride() == expected.stride()  # or convolutions would sum in another order


def test_a_batch_larger_than_the_data_holds_images_twice(pictures: Path) -> None:
    held, streamed = (BatchStream(load(pictures, kind), config(), 50, seed=0) for kind in ("memory", "stream"))
    assert torch.equal(batch(held, 1)[0], batch(streamed, 1)[0])


def test_what_is_read_ahead_is_bounded_and_used(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    streamed = load(pictures)
    assert isinstance(streamed, StreamedImages)
    reads: list[str] = []
    read = type(streamed.container).read
    monkeypatch.setattr(type(streamed.container), "read", lambda self, name: reads.append(name) or read(self, name))
    stream = BatchStream(streamed, config(), 2, seed=0)
    for number in range(5):
        batch(stream, number)
        assert len(streamed._pending) == READ_AHEAD * 2
    for future in streamed._pending.values():
        future.result()
    assert len(reads) == (5 + READ_AHEAD) * 2  # each image once
    batch(stream, 100)  # elsewhere: what was expected is given up
    assert len(streamed._pending) <= READ_AHEAD * 2


def test_a_broken_file_stops_with_its_name_and_leaves_no_thread(pictures: Path) -> None:
    (pictures / "b" / "04.png").write_bytes(b"not a picture")
    before = set(threading.enumerate())
    streamed = load(pictures)  # names alone are looked at
    stream = BatchStream(streamed, config(), BATCH_SIZE, seed=0)
    with pytest.raises(DataError, match=r"b/04\.png: not a readable image"):
        list(map(partial(batch, stream), range(4)))  # the whole first epoch
    assert isinstance(streamed, StreamedImages)
    assert not streamed._pending
    begun = set(threading.enumerate()) - before  # threads of other tests may end meanwhile
    assert begun
    del streamed, stream
    gc.collect()
    deadline = time.monotonic() + 10
    while any(thread.is_alive() for thread in begun) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(thread.is_alive() for thread in begun)


def test_the_files_hash_is_that_of_a_copy_and_of_memory_and_notices_changes(pictures: Path, tmp_path: Path) -> None:
    facts = load(pictures).facts()
    assert facts["sha256"] == facts["files_sha256"] == load(pictures, "memory").facts()["files_sha256"]
    with zipfile.ZipFile(tmp_path / "packed.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(pictures.rglob("*.png"), reverse=True):
            archive.write(file, Path("around") / file.relative_to(pictures))
    assert load(tmp_path / "packed.zip").facts()["sha256"] == facts["sha256"]
    (pictures / "a" / "00.png").touch()  # another time is no other data
    assert load(pictures).facts()["sha256"] == facts["sha256"]
    (pictures / "a" / "00.png").rename(pictures / "b" / "00.png")
    assert load(pictures).facts()["sha256"] != facts["sha256"]


def test_names_that_are_not_text_can_be_hashed() -> None:
    assert hash_files([("a/\udcff.png", 1)]) != hash_files([("a/\udcfe.png", 1)])


def test_parallel_work_keeps_the_order_and_a_bounded_number_under_way() -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for item in range(1000):
            taken += 1
            yield item

    results = in_parallel(lambda item: item * item, items())
    assert [next(results) for _ in range(3)] == [0, 1, 4]
    assert taken <= 4 * WORKERS + 3
    assert list(results) == [item * item for item in range(3, 1000)]


def test_what_parallel_work_raises_comes_in_its_turn() -> None:
    def work(item: int) -> int:
        if item == 5:
            raise DataError("five")
        return item

    results = in_parallel(work, range(10_000))
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(DataError, match="five"):
        next(results)
