"""The real side of a comparison: measured once, then read from a cache that goes by the content of everything in it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sngan_train.data import ImageSource
from sngan_train.errors import DataError
from sngan_train.metrics.class_agreement import LinearProbe
from sngan_train.metrics.extractor import FeatureExtractor
from sngan_train.metrics.moments import RunningMoments
from sngan_train.metrics.protocol import MOST_KEPT_IMAGES

CACHE_FORMAT = 1  # part of the key; changes when what is stored or how it is computed does
REAL_SEED = 0  # which real images are drawn: part of a protocol, not of a measurement
IMAGES_AT_A_TIME = 256
FEWEST_FOR_PROBE = 200  # real images, below which a linear probe says nothing

Progress = Callable[[int, int], None]  # images done, images in all


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """Features of real images.

    Attributes:
        facts: split, origin, count, image size and hash: what a record says of the real images.
        moments: of all of them.
        features: float32 (k, D), of the first k, at most MOST_KEPT_IMAGES.
        labels: int64 (k,).
        probe: names the class of features; None where there is one class, or too few images.
    """

    facts: dict[str, Any]
    moments: RunningMoments
    features: Tensor
    labels: Tensor
    probe: LinearProbe | None


def load_reference(
    source: ImageSource,
    extractor: FeatureExtractor,
    *,
    split: str,
    num_images: int | None,
    cache: Path | None,
    only_class: int | None = None,
    progress: Progress = lambda done, total: None,
) -> Reference:
    """Measure `num_images` of `source` (None, or more than there are: all), or read what an earlier call measured.

    Args:
        source: the images, at the size at which they were learned from.
        extractor: measures them.
        split: "train" or "test", as the record shall say.
        num_images: at most so many.
        cache: folder of earlier results; None keeps none.
        only_class: only images of this label, and no probe.
        progress: hears how many are done.

    Raises:
        DataError: an image cannot be read, or there are fewer than two.
    """
    facts = _facts(source, split, num_images, only_class)
    key = hashlib.sha256(
        json.dumps(
            [CACHE_FORMAT, facts, dataclasses.asdict(extractor.facts), MOST_KEPT_IMAGES], sort_keys=True
        ).encode()
    ).hexdigest()
    path = cache / f"{key[:32]}.npz" if cache else None
    if path and path.exists():
        known = _read(path, facts)
        if known:
            return known
    indices = _indices(source, num_images, only_class)
    if len(indices) < 2:
        raise DataError(f"{facts['origin']}: {len(indices)} images to compare with, at least 2 are needed")
    moments = RunningMoments(extractor.facts.feature_dim)
    kept, labels, done = [], [], 0
    for images, some_labels in _batches(source, indices):
        features = extractor(images).features
        moments.add(features)
        if done < MOST_KEPT_IMAGES:
            kept.append(features[: MOST_KEPT_IMAGES - done])
            labels.append(some_labels[: MOST_KEPT_IMAGES - done])
        done += len(features)
        progress(done, len(indices))
    features, all_labels = torch.cat(kept), torch.cat(labels)
    classes = len(source.class_names)
    probe = None
    if only_class is None and classes > 1 and len(features) >= max(FEWEST_FOR_PROBE, 2 * classes):
        probe = LinearProbe.fit(features, all_labels, classes)
    reference = Reference(facts=facts, moments=moments, features=features, labels=all_labels, probe=probe)
    if path:
        _write(path, reference)
    return reference


def _facts(source: ImageSource, split: str, num_images: int | None, only_class: int | None) -> dict[str, Any]:
    given = source.facts()
    wanted = int((source.labels == only_class).sum()) if only_class is not None else len(source)
    one_image, _ = source.fetch(torch.tensor([0]))
    facts = {
        "origin": given["origin"],
        "split": split,
        "images": min(num_images or wanted, wanted),
        "image_shape": list(one_image.shape[1:]),
        "sha256": given["sha256"],
    }
    return facts if only_class is None else {**facts, "class": only_class}


def _indices(source: ImageSource, num_images: int | None, only_class: int | None) -> Tensor:
    """Which images: an order that the seed of the protocol fixes, its first `num_images`."""
    order = torch.randperm(len(source), generator=torch.Generator().manual_seed(REAL_SEED))
    if only_class is not None:
        order = order[source.labels.cpu()[order] == only_class]
    return order[:num_images]


def _batches(source: ImageSource, indices: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    parts = torch.split(indices, IMAGES_AT_A_TIME)
    for number, part in enumerate(parts):
        source.expect(iter(parts[number : number + 2]))
        images, labels = source.fetch(part)
        yield images, labels.cpu()


def _write(path: Path, reference: Reference) -> None:
    """Best effort: a cache that cannot be written is no reason to fail."""
    arrays = dict(reference.moments.to_arrays())
    arrays |= {"features": reference.features.numpy(), "labels": reference.labels.numpy()}
    if reference.probe:
        arrays |= {f"probe_{name}": value for name, value in reference.probe.to_arrays().items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=".npz")
        with os.fdopen(descriptor, "wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        Path(partial).replace(path)
    except OSError:
        return


def _read(path: Path, facts: dict[str, Any]) -> Reference | None:
    """What `_write` wrote, or None if it cannot be read: then it is measured again."""
    try:
        # Opened here, since NumPy leaves a torn file open.
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays: dict[str, NDArray[Any]] = {name: file[name] for name in file.files}
        probe = {name.removeprefix("probe_"): value for name, value in arrays.items() if name.startswith("probe_")}
        return Reference(
            facts=facts,
            moments=RunningMoments.from_arrays(arrays),
            features=torch.from_numpy(arrays["features"]),
            labels=torch.from_numpy(arrays["labels"]),
            probe=LinearProbe.from_arrays(probe) if probe else None,
        )
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None
