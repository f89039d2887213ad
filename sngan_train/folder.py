"""A directory, or a tar or zip archive, of class folders.

    cats/one.jpg              data/train/cats/one.jpg
    cats/two.png              data/test/dogs/two.png
    dogs/three.webp

Each folder that holds images is a class. A single folder around everything is looked through; where the outer folders
are splits (`train`, `test`, `val` …) the training split is taken. Archives are read in place and nothing of them is
written to disk.
"""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps

from sngan_train.config import DataConfig
from sngan_train.data import ImageData
from sngan_train.errors import DataError

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}
TRAIN_SPLITS = ("train", "training")
OTHER_SPLITS = ("test", "testing", "val", "valid", "validation", "dev")
MAX_FILE_BYTES = 64 * 2**20
MAX_IMAGE_PIXELS = 64 * 10**6
MAX_DATA_BYTES = 8 * 2**30  # of decoded images, which are held in memory
REPORT_EVERY = 10_000  # images

Entry = tuple[PurePosixPath, Callable[[], bytes]]


def load_folder(path: Path, config: DataConfig, report: Callable[[str], None]) -> ImageData:
    """Read every image below `path`; raises DataError with the file's name for anything that cannot be used."""
    names = [name for name, _ in _entries(path)]
    if not names:
        raise DataError(
            f"{path}: no images; expected one sub-folder a class, with files {', '.join(sorted(IMAGE_SUFFIXES))}"
        )
    labels_of, class_names, split = _classes(path, names)
    wanted_bytes = len(labels_of) * config.channels * config.image_size**2
    if wanted_bytes > MAX_DATA_BYTES:
        raise DataError(
            f"{path}: {len(labels_of):,} images at {config.image_size} pixels take {wanted_bytes / 2**30:.1f} GiB, "
            f"above the {MAX_DATA_BYTES // 2**30} GiB that are held in memory; use fewer images or a smaller size"
        )
    report(f"reading {len(labels_of):,} images of {len(class_names)} classes{split} from {path}")

    images = np.empty((len(labels_of), config.channels, config.image_size, config.image_size), np.uint8)
    labels = np.empty(len(labels_of), np.int64)
    position = 0
    for name, read in _entries(path):
        if name not in labels_of:
            continue
        images[position] = _decode(read, f"{path}: {name}", config)
        labels[position] = labels_of[name]
        position += 1
        if position % REPORT_EVERY == 0:
            report(f"read {position:,} of {len(labels_of):,} images")
    return ImageData(
        images=torch.from_numpy(images),
        labels=torch.from_numpy(labels),
        class_names=class_names,
        origin=f"{path.name}{split}, {len(labels_of):,} images, cropped and scaled to {config.image_size} pixels",
    )


def _entries(path: Path) -> Iterator[Entry]:
    """(name inside `path`, a function that reads it) of every image file that is not hidden, in a fixed order."""
    if path.is_dir():
        return _directory_entries(path)
    if not path.exists():
        raise DataError(f"{path}: no such folder or archive")
    if zipfile.is_zipfile(path):
        return _zip_entries(path)
    if tarfile.is_tarfile(path):
        return _tar_entries(path)
    raise DataError(f"{path}: neither a folder nor a readable tar (.tar, .tar.gz, .tar.xz) or zip archive")


def _is_image(name: PurePosixPath) -> bool:
    hidden = any(part.startswith((".", "__MACOSX")) for part in name.parts)
    return not hidden and name.suffix.lower() in IMAGE_SUFFIXES


def _directory_entries(path: Path) -> Iterator[Entry]:
    for file in sorted(path.rglob("*")):
        name = PurePosixPath(file.relative_to(path).as_posix())
        if _is_image(name) and file.is_file():
            if file.stat().st_size > MAX_FILE_BYTES:
                raise DataError(_too_large(f"{path}: {name}"))
            yield name, file.read_bytes


def _zip_entries(path: Path) -> Iterator[Entry]:
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                name = PurePosixPath(info.filename)
                if not info.is_dir() and _is_image(name):
                    if info.file_size > MAX_FILE_BYTES:
                        raise DataError(_too_large(f"{path}: {name}"))
                    yield name, lambda info=info: archive.read(info)  # type: ignore[misc]
    except (
        zipfile.BadZipFile,
        RuntimeError,
        NotImplementedError,
        OSError,
    ) as error:  # RuntimeError: encrypted
        raise DataError(f"{path}: damaged or unreadable zip archive ({error})") from error


def _tar_entries(path: Path) -> Iterator[Entry]:
    try:
        with tarfile.open(path) as archive:
            for member in archive:  # in the archive's own order: seeking back in a compressed one starts anew
                name = PurePosixPath(member.name)
                if member.isreg() and _is_image(name):
                    if member.size > MAX_FILE_BYTES:
                        raise DataError(_too_large(f"{path}: {name}"))
                    yield name, lambda member=member: archive.extractfile(member).read()  # type: ignore[misc, union-attr]
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise DataError(f"{path}: damaged or unreadable tar archive ({error})") from error


def _too_large(where: str) -> str:
    return f"{where}: larger than {MAX_FILE_BYTES // 2**20} MiB"


def _classes(path: Path, names: list[PurePosixPath]) -> tuple[dict[PurePosixPath, int], tuple[str, ...], str]:
    """Which label each image has, the class names in order, and a note on the split that was taken."""
    parts = {name: tuple(part for part in name.parts if part not in (".", "/")) for name in names}
    split = ""
    while True:
        outer = {part[0] for part in parts.values()}
        splits = {folder for folder in outer if folder.lower() in (*TRAIN_SPLITS, *OTHER_SPLITS)}
        if splits == outer and not split:
            training = sorted(folder for folder in outer if folder.lower() in TRAIN_SPLITS)
            if not training:
                raise DataError(f"{path}: has the splits {', '.join(sorted(outer))} but none named train")
            split = f", split {training[0]} ({', '.join(sorted(outer))} found)"
            parts = {name: part[1:] for name, part in parts.items() if part[0] == training[0]}
        elif len(outer) == 1 and all(len(part) > 2 for part in parts.values()):
            parts = {name: part[1:] for name, part in parts.items()}
        else:
            break
    loose = [name for name, part in parts.items() if len(part) < 2]
    if loose:
        raise DataError(
            f"{path}: {len(loose)} images lie outside any class folder, the first is {loose[0]}; "
            "put each image into the folder of its class"
        )
    class_names = tuple(sorted({part[0] for part in parts.values()}))
    number = {name: index for index, name in enumerate(class_names)}
    return {name: number[part[0]] for name, part in parts.items()}, class_names, split


def _decode(read: Callable[[], bytes], where: str, config: DataConfig) -> NDArray[np.uint8]:
    """One image as uint8 (C, S, S): its centre square, scaled by Lanczos; transparency becomes white."""
    try:
        with Image.open(io.BytesIO(read())) as image:
            if image.width * image.height > MAX_IMAGE_PIXELS:
                raise DataError(f"{where}: {image.width}x{image.height} pixels, above {MAX_IMAGE_PIXELS:,}")
            picture = _as_mode(image, "L" if config.channels == 1 else "RGB")
    except DataError:
        raise
    except Exception as error:  # Pillow's decoders raise what they like at broken files
        raise DataError(f"{where}: not a readable image ({error}); repair or remove it") from error
    size = (config.image_size, config.image_size)
    if picture.size != size:
        picture = ImageOps.fit(picture, size, Image.Resampling.LANCZOS)
    pixels = np.asarray(picture)
    return pixels[None] if config.channels == 1 else pixels.transpose(2, 0, 1)


def _as_mode(image: Image.Image, mode: str) -> Image.Image:
    """`image` in `mode`, 8 bits a channel, upright as its EXIF orientation says."""
    picture = ImageOps.exif_transpose(image)
    if picture.mode.startswith("I"):  # 16 bits a pixel, which Pillow's own conversion clips instead of scaling
        levels = np.asarray(picture).astype(np.float64) / 257.0
        return Image.fromarray(np.clip(np.rint(levels), 0, 255).astype(np.uint8)).convert(mode)
    if picture.has_transparency_data:
        coloured = picture.convert("RGBA")
        white = Image.new("RGBA", coloured.size, "white")
        picture = Image.alpha_composite(white, coloured)
    return picture.convert(mode)
