"""Data sources by name: `digits`, `fashion-mnist`, `cifar10`, `cifar100`, `stl10`, `stl10-labeled`, `folder:PATH`.

`fashion-mnist-test`, `cifar10-test`, `cifar100-test` and `stl10-test` are the test splits, to be measured against.
"""

from __future__ import annotations

import difflib
import functools
import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from sngan_train.config import DataConfig
from sngan_train.data import ImageData, ImageSource
from sngan_train.errors import ConfigError, DataError
from sngan_train.folder import load_folder

CACHE = Path.home() / ".cache" / "sngan"
# Where Debian's package dataset-fashion-mnist puts the IDX files.
FASHION_MNIST_SYSTEM_FOLDER = Path("/usr/share/datasets/fashion-mnist")
FASHION_MNIST_CLASSES = (
    "T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
FOLDER_REMEDY = " A folder or archive of class folders works too: --data folder:PATH."
IMAGES_AT_A_TIME = 1000  # that are scaled in float32, which takes four times their memory

Report = Callable[[str], None]


def load_data(config: DataConfig, report: Report = lambda text: None) -> ImageSource:
    """The images of `config.source`, at `config.image_size` and with `config.channels`, held or streamed.

    `report` gets a line now and then while a long load runs.

    Raises:
        ConfigError: unknown source, or one that is not streamed and shall be.
        DataError: the source cannot be had or read.
    """
    name, colon, argument = config.source.partition(":")
    if name == "folder" and colon:
        return load_folder(Path(argument).expanduser(), config, report)
    if config.source in {**SOURCES, **TEST_SPLITS}:
        if config.residency == "stream":
            raise ConfigError(f"data.residency = stream is for folder:PATH; {config.source} is always held in memory")
        return {**SOURCES, **TEST_SPLITS}[config.source](config, report)
    known = [*SOURCES, "folder:PATH"]
    if Path(config.source).exists():
        raise ConfigError(f"data source {config.source!r}: to read a folder or archive write folder:{config.source}")
    near = difflib.get_close_matches(config.source, known, n=1)
    advice = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
    raise ConfigError(f"unknown data source {config.source!r}; {advice}")


def test_split_of(source: str) -> str:
    """The source of the test images that belong to the training images `source`.

    A dataset's own test split; for `folder:PATH/train` the folder or archive member beside it, `test` or `val`.

    Raises:
        ConfigError: it has none that can be found.
    """
    base = source.removesuffix("-labeled")
    if f"{base}-test" in TEST_SPLITS:
        return f"{base}-test"
    name, _, argument = source.partition(":")
    path = Path(argument).expanduser()
    if name == "folder" and path.name == "train":
        for beside in ("test", "val"):
            if (path.parent / beside).is_dir():
                return f"folder:{path.parent / beside}"
    raise ConfigError(f"{source} has no test split that could be found; name it with --real, as in --real folder:PATH")


def digits_images(image_size: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """scikit-learn's 1,797 handwritten digits: uint8 (N, S, S), white on black, and labels (N,).

    The originals are 8×8 with 17 grey levels; they are enlarged with Pillow's bicubic filter.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    levels = np.rint(digits.images * (255.0 / 16.0)).astype(np.uint8)
    enlarged = [
        np.asarray(Image.fromarray(level).resize((image_size, image_size), Image.Resampling.BICUBIC))
        for level in levels
    ]
    return np.stack(enlarged), digits.target.astype(np.int64)


def _load_digits(config: DataConfig, report: Report) -> ImageData:
    images, labels = digits_images(config.image_size)
    return ImageData(
        images=_with_channels(torch.from_numpy(images)[:, None], config.channels),
        labels=torch.from_numpy(labels),
        class_names=tuple(str(digit) for digit in range(10)),
        origin=f"scikit-learn digits, 1,797 images of 8x8 pixels enlarged to {config.image_size}",
    )


def _load_fashion_mnist(config: DataConfig, report: Report, *, train: bool = True) -> ImageData:
    from torchvision.datasets import FashionMNIST

    _unpack_system_fashion_mnist(report)
    report(f"looking for Fashion-MNIST in {CACHE}, downloading it if it is not there")
    remedy = " On Debian, `apt-get install dataset-fashion-mnist` brings it without a download."
    downloaded = _download(lambda: FashionMNIST(str(CACHE), train=train, download=True), "Fashion-MNIST", remedy)
    return ImageData(
        images=_with_channels(_fit(downloaded.data[:, None], config.image_size), config.channels),
        labels=downloaded.targets.long(),
        class_names=FASHION_MNIST_CLASSES,
        origin=f"Fashion-MNIST, {_split(train)} split, 28x28 pixels padded or scaled to {config.image_size}",
    )


def _unpack_system_fashion_mnist(report: Report) -> None:
    """Put the system package's compressed IDX files where torchvision looks for its own download."""
    raw = CACHE / "FashionMNIST" / "raw"
    for compressed in sorted(FASHION_MNIST_SYSTEM_FOLDER.glob("*-ubyte.gz")):
        target = raw / compressed.stem
        if not target.exists():
            report(f"unpacking {compressed}")
            raw.mkdir(parents=True, exist_ok=True)
            partial = target.with_suffix(".partial")
            partial.write_bytes(gzip.decompress(compressed.read_bytes()))
            partial.replace(target)


def _load_cifar10(config: DataConfig, report: Report, *, train: bool = True) -> ImageData:
    from torchvision.datasets import CIFAR10

    return _cifar(CIFAR10, "CIFAR-10", config, report, train=train)


def _load_cifar100(config: DataConfig, report: Report, *, train: bool = True) -> ImageData:
    from torchvision.datasets import CIFAR100

    return _cifar(CIFAR100, "CIFAR-100", config, report, train=train)


def _cifar(dataset: Callable[..., Any], name: str, config: DataConfig, report: Report, *, train: bool) -> ImageData:
    """A split of CIFAR-10 or -100, the latter with its fine labels."""
    report(f"looking for {name} in {CACHE}, downloading it if it is not there")
    downloaded = _download(lambda: dataset(str(CACHE), train=train, download=True), name, FOLDER_REMEDY)
    images = torch.from_numpy(downloaded.data).permute(0, 3, 1, 2)  # (N, 3, 32, 32)
    return ImageData(
        images=_with_channels(_fit(images, config.image_size), config.channels),
        labels=torch.tensor(downloaded.targets),
        class_names=tuple(downloaded.classes),
        origin=f"{name}, {_split(train)} split",
    )


def _load_stl10(config: DataConfig, report: Report) -> ImageData:
    """The unlabeled split, which the paper trains on: one class."""
    downloaded = _stl10("unlabeled", report)
    return ImageData(
        images=_stl10_images(downloaded, config),
        labels=torch.zeros(len(downloaded.data), dtype=torch.int64),
        class_names=("unlabeled",),
        origin=f"STL-10, unlabeled split, 96x96 pixels scaled to {config.image_size}",
    )


def _load_stl10_labeled(config: DataConfig, report: Report, *, train: bool = True) -> ImageData:
    downloaded = _stl10(_split(train), report)
    return ImageData(
        images=_stl10_images(downloaded, config),
        labels=torch.from_numpy(downloaded.labels.astype(np.int64)),
        class_names=tuple(downloaded.classes),
        origin=f"STL-10, {_split(train)} split, 96x96 pixels scaled to {config.image_size}",
    )


def _stl10(split: str, report: Report) -> Any:
    from torchvision.datasets import STL10

    report(f"looking for STL-10 in {CACHE}, downloading it (2.6 GB) if it is not there")
    return _download(lambda: STL10(str(CACHE), split=split, download=True), "STL-10", FOLDER_REMEDY)


def _stl10_images(downloaded: Any, config: DataConfig) -> torch.Tensor:
    return _with_channels(_fit(torch.from_numpy(downloaded.data), config.image_size), config.channels)


def _split(train: bool) -> str:
    return "train" if train else "test"


def _download(load: Callable[[], Any], name: str, remedy: str) -> Any:
    """What torchvision's loader gives; any failure of the download or the file becomes one line."""
    try:
        return load()
    except Exception as error:  # urllib's, ssl's, zipfile's and torchvision's own share no base
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(f"{name} could not be downloaded or read: {reason}.{remedy}") from error


def _fit(images: torch.Tensor, image_size: int) -> torch.Tensor:
    """uint8 (N, C, s, s) → (N, C, S, S): padded with 0 where that makes up to 4 pixels, scaled otherwise."""
    missing = image_size - images.shape[-1]
    if missing == 0:
        return images.contiguous()
    if 0 < missing <= 4:
        before = missing // 2
        return torch.nn.functional.pad(images, (before, missing - before, before, missing - before))
    parts = []
    for part in torch.split(images, IMAGES_AT_A_TIME):
        scaled = torch.nn.functional.interpolate(
            part.float(), size=(image_size, image_size), mode="bilinear", antialias=True
        )
        parts.append(scaled.round().clamp(0, 255).to(torch.uint8))
    return torch.cat(parts)


def _with_channels(images: torch.Tensor, channels: int) -> torch.Tensor:
    """Grey to colour by repetition, colour to grey by ITU-R 601 luma; uint8 in and out."""
    if images.shape[1] == channels:
        return images
    if channels == 3:
        return images.repeat(1, 3, 1, 1)
    weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    return (images.float() * weights).sum(dim=1, keepdim=True).round().clamp(0, 255).to(torch.uint8)


SOURCES: dict[str, Callable[[DataConfig, Report], ImageData]] = {
    "digits": _load_digits,
    "fashion-mnist": _load_fashion_mnist,
    "cifar10": _load_cifar10,
    "cifar100": _load_cifar100,
    "stl10": _load_stl10,
    "stl10-labeled": _load_stl10_labeled,
}
TEST_SPLITS: dict[str, Callable[[DataConfig, Report], ImageData]] = {
    "fashion-mnist-test": functools.partial(_load_fashion_mnist, train=False),
    "cifar10-test": functools.partial(_load_cifar10, train=False),
    "cifar100-test": functools.partial(_load_cifar100, train=False),
    "stl10-test": functools.partial(_load_stl10_labeled, train=False),
}
