"""Requests → pixels, many at once: the images of all requests in one row, run in parts, and split again.

Where a batch is faster, its size is one of few, so that the provider plans, tunes and warms each once; the last part
is filled up. The CPU provider gains nothing from a batch, and the session runs images there one by one: an image's
bytes then do not depend on its neighbours.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handlers.drawing import labels_of, latents_of
from handlers.metadata import GeneratorMetadata
from handlers.request import ImageRequest
from handlers.session import GeneratorSession
from handlers.shared_cores import one_after_another

BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64)
# The CPU provider gains nothing from a batch. OpenVINO gains hardly anything from more than 4 (the paper's ResNet for
# CIFAR-10), and keeps the memory of the largest batch that it has run: 64 images, 370 MB; 8 in float32, 50 MB.
LARGEST_BATCH = {"cpu": 1, "openvino": 4, "openvino-bf16": 8}
# Hears of a batch's runs: the images in them, the seconds from the first's start to the last's end, and how many more
# images only filled them up.
Ran = Callable[[int, float, int], None]
# Runs a function of 0 … count - 1 and gives the results in order.
RunAll = Callable[[Callable[[int], NDArray[np.uint8]], int], list[NDArray[np.uint8]]]


def nobody_asks(images: int, seconds: float, padding: int) -> None:
    """The `Ran` of those who measure nothing."""


def with_classes(request: ImageRequest, metadata: GeneratorMetadata) -> ImageRequest:
    """The same request with the classes that it leaves to its seed written out, so that they are drawn once."""
    if request.classes is not None:
        return request
    labels = labels_of(request, metadata)
    return request if labels is None else dataclasses.replace(request, classes=tuple(labels.tolist()))


def part_sizes(count: int, provider: str) -> list[tuple[int, int]]:
    """How `count` images are run on `provider`: (images, batch size ≥ images) of every part, in order."""
    sizes = _sizes(provider)
    parts = []
    while count > 0:
        taken = min(count, sizes[-1])
        parts.append((taken, next(size for size in sizes if size >= taken)))
        count -= taken
    return parts


def _sizes(provider: str) -> list[int]:
    return [size for size in BATCH_SIZES if size <= LARGEST_BATCH.get(provider, BATCH_SIZES[-1])]


def draw_all(
    session: GeneratorSession,
    requests: Sequence[ImageRequest],
    ran: Ran = nobody_asks,
    run_all: RunAll = one_after_another,
) -> list[NDArray[np.uint8] | Exception]:
    """The images of every request, uint8 (n, height, width, channels), or why there are none, in order.

    A fault that a run of all together meets is looked for in each request alone, so that it fails no other.

    Args:
        session: the open generator.
        requests: of one batch.
        ran: hears of the runs.
        run_all: makes them; more than one at once only if the session allows for that, as the CPU provider does.
    """
    try:
        return list(_run(session, requests, ran, run_all))
    except Exception as error:
        if len(requests) == 1:
            return [error]
    return [images for request in requests for images in draw_all(session, [request], ran, run_all)]


def warm_up(session: GeneratorSession) -> None:
    """Run every batch size once, so that no request waits for what a provider does at the first."""
    metadata = session.metadata
    for size in _sizes(session.provider):
        request = ImageRequest(n=size, seed=0, classes=None, truncation=metadata.default_truncation)
        _run(session, [request], nobody_asks, one_after_another)


def _run(
    session: GeneratorSession, requests: Sequence[ImageRequest], ran: Ran, run_all: RunAll
) -> list[NDArray[np.uint8]]:
    metadata = session.metadata
    if not requests:
        return []
    z = np.concatenate([latents_of(request, metadata) for request in requests])
    found = [labels_of(request, metadata) for request in requests]
    labels = np.concatenate([one for one in found if one is not None]) if metadata.num_classes else None
    parts = part_sizes(len(z), session.provider)
    starts = np.cumsum([0, *(count for count, _ in parts)])

    def run(part: int) -> NDArray[np.uint8]:
        start, (count, size) = starts[part], parts[part]
        chosen: Any = slice(start, start + count)
        if size > count:  # the last image again and again fills the part
            chosen = np.minimum(np.arange(start, start + size), start + count - 1)
        return session.generate_levels(z[chosen], None if labels is None else labels[chosen])[:count]

    started = time.perf_counter()
    levels = np.concatenate(run_all(run, len(parts)))
    ran(len(z), time.perf_counter() - started, sum(size for _, size in parts) - len(z))
    ends = np.cumsum([request.n for request in requests])
    return np.split(levels, ends[:-1])
