"""A directory, or a tar or zip archive, of class folders.

    cats/one.jpg              data/train/cats/one.jpg
    cats/two.png              data/test/dogs/two.png
    dogs/three.webp

Each folder that holds images is a class. A single folder around everything is looked through; where the outer folders
are splits (`train`, `test`, `val` …) the training split is taken.
"""

from __future__ import annotations

import dataclasses
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from sngan_train.config import DataConfig
from sngan_train.containers import Container, Reader, open_container
from sngan_train.data import ImageData, ImageSource
from sngan_train.decoding import IMAGE_SUFFIXES, decode
from sngan_train.errors import DataError
from sngan_train.residency import choose_residency, gibibytes
from sngan_train.streaming import StreamedImages, hash_files, in_parallel

TRAIN_SPLITS = ("train", "training")
OTHER_SPLITS = ("test", "testing", "val", "valid", "validation", "dev")
REPORT_EVERY = 10_000  # images


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """Which class each image has.

    Attributes:
        labels: file name → label, in the order of the names.
        class_names: in the order of the labels.
        empty: class folders without images.
        split: a note on the split that was taken, or "".
        root: the folder that holds the class folders, inside the container; "" is the outermost.
    """

    labels: dict[str, int]
    class_names: tuple[str, ...]
    empty: tuple[str, ...]
    split: str
    root: str

    def decoded_bytes(self, config: DataConfig) -> int:
        """What the images take in memory."""
        return len(self.labels) * config.channels * config.image_size**2


def load_folder(path: Path, config: DataConfig, report: Callable[[str], None]) -> ImageSource:
    """The images below `path`, held or streamed; raises DataError with the name of anything that cannot be used.

    Of streamed images that cannot be decoded the error comes when they are fetched.
    """
    container = open_container(path)
    layout = find_layout(container)
    if layout.empty:
        raise DataError(
            f"{path}: {len(layout.empty)} class folders hold no images: {shorten(layout.empty)}; "
            "put images into them, or remove or hide them (.name)"
        )
    decoded_bytes = layout.decoded_bytes(config)
    residency = choose_residency(config, decoded_bytes, container.random_access, str(path))
    origin = (
        f"{path.name}{layout.split}, {len(layout.labels):,} images, cropped and scaled to {config.image_size} pixels"
    )
    inside = len(layout.root) + 1 if layout.root else 0
    files_sha256 = hash_files((name[inside:], container.files[name]) for name in layout.labels)
    labels = torch.tensor(list(layout.labels.values()))
    summary = f"{len(layout.labels):,} images of {len(layout.class_names)} classes{layout.split} from {path}"
    if residency == "stream":
        report(
            f"streaming {summary}: {gibibytes(decoded_bytes)} if they were held in memory; "
            f"`sngan doctor --data folder:{path}` looks at every image beforehand"
        )
        return StreamedImages(
            container=container,
            names=tuple(layout.labels),
            labels=labels,
            class_names=layout.class_names,
            origin=origin,
            config=config,
            files_sha256=files_sha256,
        )
    report(f"reading {summary}")
    return ImageData(
        images=torch.from_numpy(_decode_all(container, layout, config, report)),
        labels=labels,
        class_names=layout.class_names,
        origin=origin,
        files_sha256=files_sha256,
    )


def _decode_all(
    container: Container, layout: Layout, config: DataConfig, report: Callable[[str], None]
) -> NDArray[np.uint8]:
    """Every image of `layout`, in its order: uint8 (N, C, S, S)."""
    count = len(layout.labels)
    images = np.empty((count, config.channels, config.image_size, config.image_size), np.uint8)
    positions = {name: position for position, name in enumerate(layout.labels)}

    def work(file: tuple[str, Reader]) -> tuple[int, NDArray[np.uint8]]:
        name, read = file
        return positions[name], decode(read, container.where(name), config.image_size, config.channels)

    wanted = (file for file in container.read_all() if file[0] in positions)
    for done, (position, pixels) in enumerate(in_parallel(work, wanted), start=1):
        images[position] = pixels
        if done % REPORT_EVERY == 0:
            report(f"read {done:,} of {count:,} images")
    return images


def find_layout(container: Container) -> Layout:
    """The classes of the images in `container`; raises DataError if they have none, or names that cannot be used."""
    path = container.path
    if not container.files:
        unseen = f" (found {sum(container.unseen.values()):,} other files)" if container.unseen else ""
        raise DataError(
            f"{path}: no images{unseen}; expected one sub-folder a class, with files "
            f"{', '.join(sorted(IMAGE_SUFFIXES))}"
        )
    root, split, parts = _find_root(container)
    loose = [name for name, part in parts.items() if len(part) < 2]
    if loose:
        raise DataError(
            f"{path}: {len(loose)} images lie outside any class folder, the first is {loose[0]}; "
            "put each image into the folder of its class"
        )
    used = sorted({part[0] for part in parts.values()})
    class_of = _class_names(path, used)
    class_names = tuple(sorted(class_of.values()))
    number = {name: index for index, name in enumerate(class_names)}
    depth = len(root)
    folders = [tuple(folder.split("/")) for folder in container.folders]
    beside = {folder[depth] for folder in folders if len(folder) > depth and folder[:depth] == root}
    return Layout(
        labels={name: number[class_of[part[0]]] for name, part in parts.items()},
        class_names=class_names,
        empty=tuple(sorted(beside.difference(used, {""}))),  # "" is the outermost folder
        split=split,
        root="/".join(root),
    )


def _find_root(container: Container) -> tuple[tuple[str, ...], str, dict[str, tuple[str, ...]]]:
    """(the class folders' parent, a note on the split, name → its parts below the parent) of the images taken."""
    parts = {name: tuple(name.split("/")) for name in container.files}
    root: tuple[str, ...] = ()
    split = ""
    while True:
        outer = {part[0] for part in parts.values()}
        splits = {folder for folder in outer if folder.lower() in (*TRAIN_SPLITS, *OTHER_SPLITS)}
        if splits == outer and not split:
            training = sorted(folder for folder in outer if folder.lower() in TRAIN_SPLITS)
            if not training:
                raise DataError(f"{container.path}: has the splits {', '.join(sorted(outer))} but none named train")
            split = f", split {training[0]} ({', '.join(sorted(outer))} found)"
            root = (*root, training[0])
            parts = {name: part[1:] for name, part in parts.items() if part[0] == training[0]}
        elif len(outer) == 1 and all(len(part) > 2 for part in parts.values()):
            root = (*root, *outer)
            parts = {name: part[1:] for name, part in parts.items()}
        else:
            return root, split, parts


def _class_names(path: Path, folders: list[str]) -> dict[str, str]:
    """Folder → class name: the folder's in Unicode's composed form, which is the one that keyboards send.

    Names that are alike are refused: a class is asked for without regard to case, and nobody sees how an accent is
    encoded.
    """
    class_of: dict[str, str] = {}
    known: dict[str, str] = {}
    for folder in folders:
        name = unicodedata.normalize("NFC", folder)
        if not name.isprintable():  # control characters, and bytes that are not UTF-8
            raise DataError(f"{path}: the class folder {folder!a} has a name that cannot be printed; rename it")
        other = known.setdefault(name.casefold(), folder)
        if other != folder:
            raise DataError(
                f"{path}: the classes {other!r} and {folder!r} differ in case or in the encoding of accents alone; "
                "rename or merge them"
            )
        class_of[folder] = name
    return class_of


def shorten(names: tuple[str, ...], at_most: int = 5) -> str:
    """The first names, and how many more there are."""
    more = len(names) - at_most
    return ", ".join(names[:at_most]) + (f" and {more:,} more" if more > 0 else "")
