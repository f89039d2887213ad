from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from handlers.batch import BATCH_SIZES, draw_all, part_sizes, warm_up
from handlers.busy import BusyMark
from handlers.drawing import draw, latents_of
from handlers.request import MAX_IMAGES, ImageRequest
from handlers.session import GeneratorSession
from handlers.shared_cores import SharedCores


class Batching:
    """A session that claims to run on another provider, and counts what it runs."""

    def __init__(self, real: GeneratorSession, bad_z: float | None = None) -> None:
        self.real, self.bad_z = real, bad_z
        self.metadata, self.provider = real.metadata, "cuda"
        self.sizes: list[int] = []

    def generate_levels(self, z: NDArray[np.float32], labels: NDArray[np.int64] | None) -> NDArray[np.uint8]:
        self.sizes.append(len(z))
        if self.bad_z is not None and self.bad_z in z:
            raise RuntimeError("the provider failed")
        return self.real.generate_levels(z, labels)


REQUESTS = [
    ImageRequest(n=1, seed=1, classes=None, truncation=None),
    ImageRequest(n=5, seed=2, classes=(0, 1, 2, 1, 0), truncation=0.5),
    ImageRequest(n=2, seed=3, classes=(1, 1), truncation=None, z=((0.5,) * 8, (-1.0,) * 8)),
]


@pytest.mark.parametrize("batching", [False, True])
def test_together_they_are_what_each_is_alone(batching: bool, tiny_session: GeneratorSession) -> None:
    session: Any = Batching(tiny_session) if batching else tiny_session
    runs: list[tuple[int, int]] = []
    together = draw_all(session, REQUESTS, lambda images, seconds, padding: runs.append((images, padding)))
    for request, images in zip(REQUESTS[:2], together, strict=False):
        np.testing.assert_array_equal(images, draw(tiny_session, request))
    given = tiny_session.generate_levels(
        np.array([[0.5] * 8, [-1.0] * 8], dtype=np.float32), np.array([1, 1], dtype=np.int64)
    )
    np.testing.assert_array_equal(together[2], given)
    assert runs == [(8, 0)]


def test_images_that_run_at_once_are_what_they_are_alone(tiny_session: GeneratorSession) -> None:
    run_all = SharedCores(BusyMark(None), cores=4, threads=1).run_all
    together = draw_all(tiny_session, REQUESTS * 4, run_all=run_all)
    for request, images in zip(REQUESTS * 4, together, strict=True):
        np.testing.assert_array_equal(images, draw(tiny_session, request))


def test_a_part_is_filled_up_and_what_fills_it_goes_to_nobody(tiny_session: GeneratorSession) -> None:
    session: Any = Batching(tiny_session)
    runs: list[tuple[int, int]] = []
    request = ImageRequest(n=5, seed=2, classes=None, truncation=None)
    [images] = draw_all(session, [request], lambda images, seconds, padding: runs.append((images, padding)))
    np.testing.assert_array_equal(images, draw(tiny_session, request))
    assert session.sizes == [8]
    assert runs == [(5, 3)]


def test_a_fault_fails_its_own_request_alone(tiny_session: GeneratorSession) -> None:
    session: Any = Batching(tiny_session, bad_z=-1.0)
    first, second, third = draw_all(session, REQUESTS)
    assert isinstance(third, RuntimeError)
    for request, images in zip(REQUESTS[:2], (first, second), strict=True):
        np.testing.assert_array_equal(images, draw(tiny_session, request))


@pytest.mark.parametrize("count", [0, 1, 2, 3, 16, 17, 63, 64, 65, 200, 256])
def test_parts_are_of_few_sizes_and_cover_all(count: int) -> None:
    parts = part_sizes(count, "cuda")
    assert sum(images for images, _ in parts) == count
    assert {size for _, size in parts} <= set(BATCH_SIZES)
    assert all(size // 2 < images <= size for images, size in parts)  # less than half is padding
    assert part_sizes(count, "cpu") == [(1, 1)] * count
    parts = part_sizes(count, "openvino-bf16")
    assert sum(images for images, _ in parts) == count
    assert {size for _, size in parts} <= {1, 2, 4, 8}


def test_every_size_in_use_is_warmed(tiny_session: GeneratorSession) -> None:
    session: Any = Batching(tiny_session)
    warm_up(session)
    assert session.sizes == list(BATCH_SIZES)
    assert {size for n in range(1, MAX_IMAGES + 1) for _, size in part_sizes(n, "cuda")} == set(BATCH_SIZES)


def test_given_latents_are_taken_as_they_are(tiny_session: GeneratorSession) -> None:
    z = latents_of(REQUESTS[2], tiny_session.metadata)
    assert (z.dtype, z.tolist()) == (np.float32, [[0.5] * 8, [-1.0] * 8])


def test_nothing_asked_for_is_nothing_drawn(tiny_session: GeneratorSession) -> None:
    assert draw_all(tiny_session, []) == []
