import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from sngan_train import sources
from sngan_train.config import DataConfig
from sngan_train.data import ImageData
from sngan_train.errors import ConfigError, DataError
from sngan_train.sources import load_data


@pytest.mark.parametrize("size", [16, 32])
@pytest.mark.parametrize("channels", [1, 3])
def test_digits(size: int, channels: int) -> None:
    data = load_data(DataConfig(source="digits", image_size=size, channels=channels))
    assert data.images.shape == (1797, channels, size, size)
    assert data.class_names == tuple("0123456789")
    original = load_digits()
    assert data.labels.tolist() == original.target.tolist()
    # Enlarging keeps the picture: its mean brightness, and where the ink is.
    means = data.images[:, 0].float().mean(dim=(1, 2)).numpy()
    assert np.allclose(means, original.images.mean(axis=(1, 2)) * 255 / 16, atol=4.0)
    small = torch.nn.functional.avg_pool2d(data.images[:, :1].float(), size // 8)[:, 0].numpy()
    assert np.corrcoef(small.ravel(), original.images.ravel())[0, 1] > 0.95


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("digit", "unknown data source 'digit'; did you mean digits?"),
        ("zzz", "known: digits, fashion-mnist, cifar10, cifar100, stl10, stl10-labeled, folder:PATH"),
        ("folder", "unknown data source 'folder'"),
    ],
)
def test_unknown_sources(source: str, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load_data(DataConfig(source=source))
    assert message in str(raised.value)


def test_a_path_without_folder_gets_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"write folder:{tmp_path}"):
        load_data(DataConfig(source=str(tmp_path)))


def test_only_folders_are_streamed() -> None:
    with pytest.raises(ConfigError, match="digits is always held in memory"):
        load_data(DataConfig(source="digits", residency="stream"))


def test_a_failed_download_is_one_line_with_a_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import torchvision.datasets

    def fail(*args: object, **kwargs: object) -> None:
        raise OSError("no route to host\nand a second line")

    monkeypatch.setattr(sources, "CACHE", tmp_path)
    monkeypatch.setattr(torchvision.datasets, "CIFAR10", fail)
    with pytest.raises(DataError) as raised:
        load_data(DataConfig(source="cifar10"))
    assert str(raised.value).count("\n") == 0
    assert "no route to host" in str(raised.value)
    assert "--data folder:PATH" in str(raised.value)


def test_fashion_mnist_idx_files_of_the_system_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Files as Debian's package has them, made here with two images, so that the parsing is real."""
    import gzip
    import struct

    system, cache = tmp_path / "system", tmp_path / "cache"
    system.mkdir()
    pixels = np.arange(2 * 28 * 28, dtype=np.uint32).astype(np.uint8)
    images = struct.pack(">IIII", 2051, 2, 28, 28) + pixels.tobytes()
    labels = struct.pack(">II", 2049, 2) + bytes([9, 1])
    for part in ("train", "t10k"):
        (system / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(images))
        (system / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))
    monkeypatch.setattr(sources, "FASHION_MNIST_SYSTEM_FOLDER", system)
    monkeypatch.setattr(sources, "CACHE", cache)
    monkeypatch.setattr(sources, "FASHION_MNIST_CLASSES", tuple("0123456789"))
    with pytest.raises(DataError, match="class '0' has no images"):  # read, and then found wanting
        load_data(DataConfig(source="fashion-mnist", channels=1))

    monkeypatch.setattr(sources, "FASHION_MNIST_CLASSES", ("a", "b"))
    (cache / "FashionMNIST" / "raw" / "train-labels-idx1-ubyte").write_bytes(labels[:8] + bytes([1, 0]))
    data = load_data(DataConfig(source="fashion-mnist", channels=1))
    assert data.labels.tolist() == [1, 0]
    assert data.images.shape == (2, 1, 32, 32)
    assert torch.equal(data.images[0, 0, 2:30, 2:30].flatten(), torch.from_numpy(pixels[: 28 * 28]))
    assert int(data.images[:, :, :2].sum()) == 0  # the border


def test_cifar100_has_the_fine_labels(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Files as the official archive has them, made here with three images."""
    import torchvision.datasets.cifar

    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (3, 3, 32, 32), np.uint8)
    batch = {"data": pixels.reshape(3, 3072), "fine_labels": [2, 0, 1], "coarse_labels": [0, 0, 0]}
    for name in ("train", "test"):
        (folder / name).write_bytes(pickle.dumps(batch))
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": ["apple", "baby", "bear"]}))
    monkeypatch.setattr(sources, "CACHE", tmp_path)
    monkeypatch.setattr(torchvision.datasets.cifar, "check_integrity", lambda path, md5=None: Path(path).is_file())
    data = load_data(DataConfig(source="cifar100"))
    assert isinstance(data, ImageData)
    assert data.class_names == ("apple", "baby", "bear")
    assert data.labels.tolist() == [2, 0, 1]
    assert torch.equal(data.images, torch.from_numpy(pixels))


@pytest.fixture
def stl10_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> np.ndarray:
    """Files as in the official archive. Gives the two train images; the unlabeled are the same the other way round."""
    import torchvision.datasets.stl10

    folder = tmp_path / "stl10_binary"
    folder.mkdir()
    pixels = np.zeros((2, 3, 96, 96), np.uint8)  # image, channel, row, column
    pixels[0, 0, :48] = 200  # red above
    pixels[1, 2, :, 48:] = 100  # blue on the right
    columns_first = np.ascontiguousarray(pixels.transpose(0, 1, 3, 2))  # as the files are written
    for name in ("train_X", "test_X"):
        (folder / f"{name}.bin").write_bytes(columns_first.tobytes())
    (folder / "unlabeled_X.bin").write_bytes(columns_first[::-1].tobytes())
    for name in ("train_y", "test_y"):
        (folder / f"{name}.bin").write_bytes(bytes([2, 1]))  # from 1
    (folder / "class_names.txt").write_text("airplane\nbird\n")
    monkeypatch.setattr(sources, "CACHE", tmp_path)
    monkeypatch.setattr(torchvision.datasets.stl10, "check_integrity", lambda path, md5=None: Path(path).is_file())
    return pixels


def test_stl10_is_the_unlabeled_split_and_stl10_labeled_the_train_split(stl10_files: np.ndarray) -> None:
    unlabeled = load_data(DataConfig(source="stl10", image_size=48))
    labeled = load_data(DataConfig(source="stl10-labeled", image_size=48))
    assert isinstance(unlabeled, ImageData)
    assert isinstance(labeled, ImageData)
    assert unlabeled.class_names == ("unlabeled",)
    assert unlabeled.labels.tolist() == [0, 0]
    assert labeled.class_names == ("airplane", "bird")
    assert labeled.labels.tolist() == [1, 0]
    # Away from the edges, halving the size leaves flat colours as they are.
    halved = stl10_files[:, :, ::2, ::2]
    for data, expected in ((unlabeled, halved[::-1]), (labeled, halved)):
        assert data.images.shape == (2, 3, 48, 48)
        for row, column in ((10, 10), (10, 40), (40, 10), (40, 40)):
            assert data.images[:, :, row, column].tolist() == expected[:, :, row, column].tolist()


def test_scaling_many_images_at_once_gives_what_one_by_one_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.randint(0, 256, (7, 3, 96, 96), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    whole = sources._fit(images, 48)
    monkeypatch.setattr(sources, "IMAGES_AT_A_TIME", 3)
    assert torch.equal(sources._fit(images, 48), whole)
