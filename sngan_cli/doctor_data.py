"""`sngan doctor --data`: what there is to say about a data set before a run."""

from __future__ import annotations

import shlex
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from sngan_cli.doctor import Finding, Verdict
from sngan_cli.errors import CommandError
from sngan_train.config import IMAGE_SIZES, DataConfig, RunConfig
from sngan_train.errors import DataError
from sngan_train.presets import PRESETS

if TYPE_CHECKING:
    from sngan_train.data_report import DataReport

FOLDER_PRESETS = {64: "custom-64", 128: "custom-128"}
FEW_IMAGES = 5_000  # below, discriminators learn the images by heart and DiffAugment helps
AUGMENTATION = "color,translation,cutout"
NAMES_SHOWN = 20


def examine_source(source: str, image_size: int | None, channels: int | None) -> Iterator[Finding]:
    """Every finding on `source` at a size and channels; None takes those of the preset that fits.

    Raises:
        ConfigError: unknown source, or a size or channels that are not trained at.
    """
    try:
        from sngan_train.data_report import examine_data
        from sngan_train.residency import gibibytes
    except ModuleNotFoundError as error:
        raise CommandError(f"looking at data needs {error.name}: `pip install 'sngan[train]'`") from error

    preset = _preset(source, image_size)
    config = DataConfig(
        source=source,
        image_size=preset.data.image_size if image_size is None else image_size,
        channels=preset.data.channels if channels is None else channels,
    )
    try:
        found = examine_data(config, lambda text: print(_printable(text), file=sys.stderr, flush=True))
    except DataError as error:
        yield Finding(subject="data", verdict=Verdict.BAD, text=_printable(str(error)))
        return
    yield from _classes(found)
    yield from _pictures(found, config)
    yield from _files(found)
    held = {"memory": "held in memory", "stream": "streamed from the disk"}
    needed = f"{gibibytes(found.decoded_bytes)} at {config.image_size}x{config.image_size}x{config.channels}"
    if found.refusal:
        yield Finding(subject="memory", verdict=Verdict.BAD, text=_printable(found.refusal))
    else:
        text = f"{needed}; would be {held[found.residency]}"
        yield Finding(subject="memory", verdict=Verdict.GOOD, text=text)
    if not (found.broken or found.empty_classes or found.refusal):
        yield Finding(subject="next", verdict=Verdict.GOOD, text=_command(found, config, preset))


def _classes(found: DataReport) -> Iterator[Finding]:
    counts = sorted(found.images_of.values())
    few = f"{found.num_images:,} images of {len(counts)} classes"
    if len(counts) == 1:
        (name,) = found.images_of
        yield Finding(
            subject="classes",
            verdict=Verdict.NOTE,
            text=f"{few}, {_printable(name)}: nothing to choose between",
            remedy="train without classes: --set discriminator.conditioning=none",
        )
    else:
        spread = f"{counts[0]:,} / {statistics.median_low(counts):,} / {counts[-1]:,}"
        yield Finding(
            subject="classes",
            verdict=Verdict.GOOD,
            text=f"{few}; images a class, least / median / most: {spread}",
        )
    if counts[0] < counts[-1]:
        smallest = sorted(found.images_of.items(), key=lambda item: item[1])
        listed = [f"{name} ({count:,})" for name, count in smallest[:5]]
        yield Finding(subject="smallest", verdict=Verdict.GOOD, text=_printable(", ".join(listed)))
    if found.empty_classes:
        yield Finding(
            subject="empty",
            verdict=Verdict.BAD,
            text=f"{len(found.empty_classes):,} class folders hold no images:" + _lines(found.empty_classes),
            remedy="put images into them, or remove or hide them (.name)",
        )


def _pictures(found: DataReport, config: DataConfig) -> Iterator[Finding]:
    if not found.num_images:
        return
    sides = sorted(min(size) for size, count in found.sizes.items() for _ in range(count))
    shapes = sorted(found.sizes, key=lambda size: size[0] * size[1])
    (smallest, largest), median = (f"{w}x{h}" for w, h in (shapes[0], shapes[-1])), statistics.median_low(sides)
    span = smallest if len(shapes) == 1 else f"{smallest} to {largest}, {len(shapes)} sizes, median side {median}"
    modes = ", ".join(f"{mode} {count:,}" for mode, count in sorted(found.modes.items()))
    yield Finding(subject="pictures", verdict=Verdict.GOOD, text=f"{span} pixels; {modes}")
    smaller = sum(side < config.image_size for side in sides)
    if smaller:
        fitting = max((size for size in IMAGE_SIZES if size <= median), default=IMAGE_SIZES[0])
        lower = f"train with --set data.image_size={fitting}; or " if fitting < config.image_size else ""
        yield Finding(
            subject="small",
            verdict=Verdict.NOTE,
            text=f"{smaller:,} images are smaller than {config.image_size} pixels and would be enlarged",
            remedy=f"{lower}leave them out",
        )
    if config.image_size < 128 <= median and config.source.startswith("folder:"):
        yield Finding(
            subject="size",
            verdict=Verdict.NOTE,
            text="most images are large enough for 128 pixels",
            remedy="with a GPU, try --image-size 128 and the preset custom-128",
        )
    colour = found.num_images - found.grey
    if config.channels == 1 and colour:
        text = f"{colour:,} of {found.num_images:,} images have colour, which is lost in one channel"
        yield Finding(subject="colour", verdict=Verdict.NOTE, text=text, remedy="train in colour: --channels 3")
    elif config.channels == 3 and found.grey:
        text = f"{found.grey:,} of {found.num_images:,} images are grey"
        remedy = "" if colour else "train in one channel: --channels 1"
        yield Finding(subject="colour", verdict=Verdict.NOTE, text=text, remedy=remedy)


def _files(found: DataReport) -> Iterator[Finding]:
    if found.broken:
        yield Finding(
            subject="broken",
            verdict=Verdict.BAD,
            text=f"{len(found.broken):,} files cannot be used:" + _lines(found.broken),
            remedy="repair or remove them",
        )
    if found.conflicts:
        pairs = tuple(f"{first} = {second}" for first, second in found.conflicts)
        yield Finding(
            subject="labels",
            verdict=Verdict.NOTE,
            text=f"{len(pairs):,} times the same file lies in two classes:" + _lines(pairs),
            remedy="leave each in the one class that it shows",
        )
    if found.copies:
        text = f"{found.copies:,} files repeat another one of their class"
        yield Finding(subject="copies", verdict=Verdict.NOTE, text=text)
    if found.unseen:
        kinds = ", ".join(f"{suffix or 'no suffix'} {count:,}" for suffix, count in sorted(found.unseen.items()))
        text = f"{sum(found.unseen.values()):,} files are no images by their names: {_printable(kinds)}"
        yield Finding(subject="other files", verdict=Verdict.NOTE, text=text)


def _preset(source: str, image_size: int | None) -> RunConfig:
    """The first preset for the source itself, else the one for folders of that size or the next below."""
    for preset in PRESETS.values():
        if preset.config.data.source == source:
            return preset.config
    return PRESETS[FOLDER_PRESETS.get(image_size or 64, "custom-64")].config


def _command(found: DataReport, config: DataConfig, preset: RunConfig) -> str:
    command = ["sngan", "train", "--preset", preset.preset]
    if preset.data.source != config.source:
        name = Path(config.source.removeprefix("folder:")).name.partition(".")[0]
        command += ["--data", config.source, "--run", f"runs/{name or 'mine'}"]
        if found.num_images < FEW_IMAGES:
            command += ["--set", f"training.augmentation={AUGMENTATION}"]
    for key in ("image_size", "channels"):
        if getattr(config, key) != getattr(preset.data, key):
            command += ["--set", f"data.{key}={getattr(config, key)}"]
    if len(found.images_of) == 1 and preset.conditional:
        command += ["--set", "discriminator.conditioning=none"]
    return _printable(shlex.join(command))


def _lines(names: tuple[str, ...]) -> str:
    """The first names, each on a line of its own below the finding, and how many more there are."""
    shown = [_printable(name) for name in names[:NAMES_SHOWN]]
    if len(names) > NAMES_SHOWN:
        shown.append(f"and {len(names) - NAMES_SHOWN:,} more")
    return "".join(f"\n{'':<20}{line}" for line in shown)


def _printable(text: str) -> str:
    """`text` with what a terminal cannot show, or would obey, as escapes."""
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)
