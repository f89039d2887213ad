"""The measurement itself: draw, extract, compare. Needs little memory however many images it takes."""

from __future__ import annotations

import dataclasses
import datetime
import math
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sngan_train.data import ImageSource
from sngan_train.distributed import Processes
from sngan_train.errors import ConfigError
from sngan_train.metrics.class_agreement import class_agreement
from sngan_train.metrics.drawing import ImageDrawer, draw_images
from sngan_train.metrics.extractor import FeatureExtractor, distance_name
from sngan_train.metrics.frechet import frechet_distance
from sngan_train.metrics.inception_score import InceptionScore
from sngan_train.metrics.kernel_distance import kernel_distance_of_all
from sngan_train.metrics.moments import RunningMoments
from sngan_train.metrics.ms_ssim import intra_class_ms_ssim
from sngan_train.metrics.neighbours import neighbour_metrics
from sngan_train.metrics.protocol import FEWEST_IMAGES_FOR_FRECHET, MOST_KEPT_IMAGES, Protocol
from sngan_train.metrics.record import MetricRecord
from sngan_train.metrics.reference import load_reference

IMAGES_AT_A_TIME = 64
MS_SSIM_PAIRS = 100  # of each class
FEWEST_FOR_FRECHET_AT_ALL = 2

Progress = Callable[[str, int, int], None]  # what is being done, images done, images in all


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What a measurement depends on beside the generator and the real images."""

    protocol: Protocol
    seed: int = 0  # of the generated images
    cache: Path | None = None  # of real features


@dataclasses.dataclass(kw_only=True, slots=True)
class _Drawn:
    """What is kept of generated images."""

    moments: RunningMoments
    features: Tensor  # of the first MOST_KEPT_IMAGES
    labels: Tensor | None  # of all that were kept
    score: InceptionScore


def evaluate(
    drawer: ImageDrawer,
    source: ImageSource,
    extractor: FeatureExtractor,
    settings: Settings,
    *,
    processes: Processes | None = None,
    progress: Progress = lambda task, done, total: None,
) -> MetricRecord:
    """Measure `drawer` against the images of `source` as the protocol says; the same record on every process.

    Raises:
        ConfigError: the protocol does not fit the generator.
        DataError: an image cannot be read.
    """
    started = time.monotonic()
    processes = processes or Processes()
    protocol = settings.protocol
    if protocol.per_class:
        values, real, notes = _by_class(drawer, source, extractor, settings, processes, progress)
        headline = f"intra-class {distance_name(extractor.facts)}"
    else:
        values, real, notes = _whole(drawer, source, extractor, settings, processes, progress)
        headline = distance_name(extractor.facts, kernel=not protocol.frechet)
    return MetricRecord(
        step=drawer.step,
        headline=headline,
        values={name: value if math.isfinite(value) else None for name, value in values.items()},
        protocol=protocol.to_dict(),
        extractor=dataclasses.asdict(extractor.facts),
        real=real,
        generator=drawer.facts,
        seed=settings.seed,
        notes=tuple(notes),
        environment={
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "seconds": round(time.monotonic() - started, 1),
            "processes": processes.world_size,
            **{name: version(name) for name in ("sngan", "torch", "torch-fidelity", "torchmetrics")},
        },
    )


def _whole(
    drawer: ImageDrawer,
    source: ImageSource,
    extractor: FeatureExtractor,
    settings: Settings,
    processes: Processes,
    progress: Progress,
) -> tuple[dict[str, float], dict[str, Any], list[str]]:
    protocol, facts = settings.protocol, extractor.facts
    with processes.in_turn():  # the first measures, the others read
        reference = load_reference(
            source,
            extractor,
            split=protocol.real_split,
            num_images=protocol.real_images,
            cache=settings.cache,
            progress=lambda done, total: progress("real images", done, total),
        )
    drawn = _draw(drawer, extractor, settings, processes, progress)
    score = drawn.score.result()
    values = {
        distance_name(facts, kernel=True): kernel_distance_of_all(reference.features, drawn.features),
        f"inception score ({facts.name})": score.mean,
        f"inception score ({facts.name}), spread over sets": score.std,
    }
    notes = []
    if protocol.frechet:
        values[distance_name(facts)] = frechet_distance(reference.moments.moments(), drawn.moments.moments())
        fewest = min(reference.moments.count, drawn.moments.count)
        if fewest < FEWEST_IMAGES_FOR_FRECHET:
            notes.append(
                f"{distance_name(facts)} is of {fewest:,} images, fewer than {FEWEST_IMAGES_FOR_FRECHET:,}: biased "
                "upwards by an amount that depends on the model; the kernel distance is not"
            )
    neighbours = neighbour_metrics(reference.features, drawn.features)
    values |= {
        "precision": neighbours.precision,
        "recall": neighbours.recall,
        "density": neighbours.density,
        "coverage": neighbours.coverage,
    }
    if reference.probe and drawn.labels is not None:
        agreement = class_agreement(reference.probe, drawn.features, drawn.labels)
        values["class agreement"] = agreement.overall
        values["class agreement of real images"] = reference.probe.held_out_accuracy
        worst = min(agreement.per_class)
        values["class agreement of the worst class"] = worst
    return values, reference.facts, notes


def _by_class(
    drawer: ImageDrawer,
    source: ImageSource,
    extractor: FeatureExtractor,
    settings: Settings,
    processes: Processes,
    progress: Progress,
) -> tuple[dict[str, float], dict[str, Any], list[str]]:
    protocol, name = settings.protocol, distance_name(extractor.facts)
    kernel_name = distance_name(extractor.facts, kernel=True)
    if drawer.num_classes < 1:
        raise ConfigError(f"protocol {protocol.name!r} compares class with class, and this generator is unconditional")
    distances, kernels, likenesses, facts = [], [], [], []
    for label, class_name in enumerate(source.class_names):

        def tell(task: str, done: int, total: int, class_name: str = class_name) -> None:
            progress(f"{class_name}, {task}", done, total)

        with processes.in_turn():
            reference = load_reference(
                source,
                extractor,
                split=protocol.real_split,
                num_images=protocol.real_images,
                cache=settings.cache,
                only_class=label,
                progress=lambda done, total, tell=tell: tell("real images", done, total),  # type: ignore[misc]
            )
        drawn = _draw(drawer, extractor, settings, processes, tell, only_class=label)
        distances.append(frechet_distance(reference.moments.moments(), drawn.moments.moments()))
        kernels.append(kernel_distance_of_all(reference.features, drawn.features))
        images, labels = draw_images(drawer, settings.seed, range(2 * MS_SSIM_PAIRS), only_class=label)
        assert labels is not None
        likenesses.append(intra_class_ms_ssim(images, torch.from_numpy(labels), MS_SSIM_PAIRS, seed=settings.seed).mean)
        facts.append(reference.facts)
    values = {f"intra-class {name}": float(np.mean(distances)), f"intra-class {kernel_name}": float(np.mean(kernels))}
    values["intra-class MS-SSIM"] = float(np.mean(likenesses))
    values |= {f"{name} of {one}": value for one, value in zip(source.class_names, distances, strict=True)}
    values |= {f"MS-SSIM of {one}": value for one, value in zip(source.class_names, likenesses, strict=True)}
    notes = [
        f"{name} within a class is of {min(fact['images'] for fact in facts):,} to "
        f"{max(fact['images'] for fact in facts):,} real and {protocol.fake_images:,} generated images: biased "
        "upwards; comparable with others of the same counts alone"
    ]
    shared = {key: value for key, value in facts[0].items() if key not in ("class", "images")}
    return values, {**shared, "images": sum(fact["images"] for fact in facts)}, notes


def _draw(
    drawer: ImageDrawer,
    extractor: FeatureExtractor,
    settings: Settings,
    processes: Processes,
    progress: Progress,
    only_class: int | None = None,
) -> _Drawn:
    """Draw and extract all the protocol wants; each process takes every world_size-th batch."""
    protocol = settings.protocol
    scored = 0 if protocol.per_class else protocol.score_sets * protocol.score_images
    total = max(protocol.fake_images, scored)
    kept_count = min(protocol.fake_images, MOST_KEPT_IMAGES)
    moments = RunningMoments(extractor.facts.feature_dim)
    score = InceptionScore(sets=protocol.score_sets, images_per_set=protocol.score_images)
    kept: dict[int, Tensor] = {}
    kept_labels: dict[int, Tensor] = {}
    starts = range(0, total, IMAGES_AT_A_TIME)[processes.rank :: processes.world_size]
    for start in starts:
        indices = range(start, min(start + IMAGES_AT_A_TIME, total))
        images, labels = draw_images(drawer, settings.seed, indices, only_class)
        found = extractor(images)
        moments.add(found.features[: max(0, protocol.fake_images - start)])
        if start < scored:
            score.add(found.logits[: scored - start], start)
        if start < kept_count:
            kept[start] = found.features[: kept_count - start]
            if labels is not None:
                kept_labels[start] = torch.from_numpy(labels)[: kept_count - start]
        progress("generated images", indices.stop, total)
    everybodys = processes.gather((moments, score, kept, kept_labels))
    moments, score, kept, kept_labels = everybodys[0]
    for other_moments, other_score, other_kept, other_labels in everybodys[1:]:
        moments.merge(other_moments)
        score.merge(other_score)
        kept |= other_kept
        kept_labels |= other_labels
    order = sorted(kept)
    return _Drawn(
        moments=moments,
        features=torch.cat([kept[start] for start in order]),
        labels=torch.cat([kept_labels[start] for start in order]) if kept_labels else None,
        score=score,
    )
