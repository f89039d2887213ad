"""What a data set is like, found by looking at every image before anybody waits for a run."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from sngan_train.config import DataConfig
from sngan_train.containers import Container, Reader, open_container
from sngan_train.data import ImageData
from sngan_train.decoding import open_picture, square
from sngan_train.errors import DataError
from sngan_train.folder import REPORT_EVERY, Layout, find_layout
from sngan_train.residency import choose_residency
from sngan_train.sources import load_data
from sngan_train.streaming import in_parallel


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class DataReport:
    """A data set in numbers and names.

    Attributes:
        images_of: class name → usable images; also of classes that have none.
        sizes: (width, height) of the files → images.
        modes: Pillow's mode of the files → images.
        grey: images without colour, whatever their mode.
        broken: one line for each file that cannot be used, with its name and why.
        empty_classes: class folders without any image file.
        copies: files with the same bytes as another one of their class.
        conflicts: pairs of files with the same bytes in two classes.
        unseen: how many files are no images by their names, by suffix.
        decoded_bytes: what all images take in memory.
        residency: "memory" or "stream", or "" with `refusal`.
        refusal: why the images can be neither held nor streamed.
    """

    images_of: Mapping[str, int]
    sizes: Mapping[tuple[int, int], int]
    modes: Mapping[str, int]
    grey: int
    broken: tuple[str, ...] = ()
    empty_classes: tuple[str, ...] = ()
    copies: int = 0
    conflicts: tuple[tuple[str, str], ...] = ()
    unseen: Mapping[str, int] = dataclasses.field(default_factory=dict)
    decoded_bytes: int
    residency: str
    refusal: str = ""

    @property
    def num_images(self) -> int:
        """Images that can be used."""
        return sum(self.images_of.values())


def examine_data(config: DataConfig, report: Callable[[str], None]) -> DataReport:
    """Look at every image of `config.source`; `report` gets a line now and then.

    Raises:
        ConfigError: unknown source.
        DataError: there is nothing to look at, or the classes cannot be told.
    """
    name, colon, argument = config.source.partition(":")
    if name == "folder" and colon:
        return _examine_folder(Path(argument).expanduser(), config, report)
    data = load_data(config, report)
    assert isinstance(data, ImageData)  # only folders are streamed
    return _examine_held(data)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _Look:
    """What one file was found to be."""

    name: str
    broken: str = ""
    digest: bytes = b""
    size: tuple[int, int] = (0, 0)
    mode: str = ""
    grey: bool = False


def _look(container: Container, name: str, read: Reader) -> _Look:
    """Decode one file whole; does not raise for what is wrong with it."""
    try:
        content = read()
        picture, mode = open_picture(lambda: content, container.where(name), "RGB")
    except (DataError, OSError) as error:
        reason = error.strerror or str(error) if isinstance(error, OSError) else str(error)
        return _Look(name=name, broken=f"{name}: {reason.removeprefix(f'{container.where(name)}: ')}")
    digest = hashlib.blake2b(content, digest_size=16).digest()
    # Colours survive shrinking well enough to be seen, and a small picture is quick to compare.
    red, green, blue = square(picture, min(32, *picture.size)).astype(np.int16)
    grey = bool((red == green).all() and (green == blue).all())
    return _Look(name=name, digest=digest, size=picture.size, mode=mode, grey=grey)


def _examine_folder(path: Path, config: DataConfig, report: Callable[[str], None]) -> DataReport:
    container = open_container(path)
    layout = find_layout(container)
    count = len(layout.labels)
    report(f"looking at {count:,} images of {len(layout.class_names)} classes{layout.split} in {path}")
    looks = {}
    files = (file for file in container.read_all() if file[0] in layout.labels)
    for done, look in enumerate(in_parallel(lambda file: _look(container, *file), files), start=1):
        looks[look.name] = look  # of an archive's two files of one name the later counts
        if done % REPORT_EVERY == 0:
            report(f"looked at {done:,} of {count:,} images")
    good = [looks[name] for name in layout.labels if not looks[name].broken]
    copies, conflicts = _same_bytes(good, layout)
    usable = Counter(layout.class_names[layout.labels[look.name]] for look in good)
    decoded_bytes = layout.decoded_bytes(config)
    residency, refusal = "", ""
    try:
        residency = choose_residency(config, decoded_bytes, container.random_access, str(path))
    except DataError as error:
        refusal = str(error)
    return DataReport(
        images_of={name: usable[name] for name in layout.class_names},
        sizes=Counter(look.size for look in good),
        modes=Counter(look.mode for look in good),
        grey=sum(look.grey for look in good),
        broken=tuple(looks[name].broken for name in layout.labels if looks[name].broken),
        empty_classes=layout.empty,
        copies=copies,
        conflicts=conflicts,
        unseen=container.unseen,
        decoded_bytes=decoded_bytes,
        residency=residency,
        refusal=refusal,
    )


def _same_bytes(looks: list[_Look], layout: Layout) -> tuple[int, tuple[tuple[str, str], ...]]:
    """(files that repeat one of their class, pairs of files that are the same in two classes)."""
    first_of: dict[bytes, str] = {}
    copies, conflicts = 0, []
    for look in looks:
        first = first_of.setdefault(look.digest, look.name)
        if layout.labels[first] != layout.labels[look.name]:
            conflicts.append((first, look.name))
        elif first != look.name:
            copies += 1
    return copies, tuple(conflicts)


def _examine_held(data: ImageData) -> DataReport:
    """A source that comes decoded: its sizes are those of training, and files it has none."""
    _, channels, height, width = data.images.shape
    counts = np.bincount(data.labels.numpy(), minlength=len(data.class_names)).tolist()
    if channels == 3:
        first, second, third = data.images.unbind(1)
        grey = int(((first == second) & (second == third)).flatten(1).all(1).sum())
    else:
        grey = len(data)
    return DataReport(
        images_of=dict(zip(data.class_names, counts, strict=True)),
        sizes={(width, height): len(data)},
        modes={"RGB" if channels == 3 else "L": len(data)},
        grey=grey,
        decoded_bytes=data.images.nbytes,
        residency="memory",
    )
