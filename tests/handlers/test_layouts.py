from __future__ import annotations

import bisect
import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray

from handlers.encodings import encode_npy
from handlers.errors import RequestError
from handlers.layouts import MAX_PIXELS, NPY_HEADER_BYTES, enlarged, grid, one_picture, refuse_too_large
from handlers.metadata import GeneratorMetadata
from handlers.request import ImageRequest

NO_LIMIT_BYTES = 10**9


def pictures(n: int, height: int = 6, width: int = 4, channels: int = 3) -> NDArray[np.uint8]:
    values = np.arange(n * height * width * channels) * 7 % 255 + 1  # no pixel is as black as the padding
    return values.astype(np.uint8).reshape(n, height, width, channels)


def asked(n: int, **how: object) -> ImageRequest:
    return dataclasses.replace(ImageRequest(n=n, seed=5, classes=None, truncation=None), **how)  # type: ignore[arg-type]


@pytest.mark.parametrize(("n", "shape"), [(1, (10, 8)), (2, (10, 14)), (4, (18, 14)), (5, (18, 20))])
def test_grid_is_near_square(n: int, shape: tuple[int, int]) -> None:
    assert grid(pictures(n)).shape == (*shape, 3)


def test_grid_puts_every_image_in_its_place() -> None:
    images = pictures(5)
    picture = grid(images, columns=3, padding=2)
    for index, image in enumerate(images):
        top, left = 2 + index // 3 * 8, 2 + index % 3 * 6
        np.testing.assert_array_equal(picture[top : top + 6, left : left + 4], image)
    assert (picture != 0).sum() == images.size  # the rest is black
    assert grid(images, columns=5, padding=0).shape == (6, 20, 3)


def test_enlarging_repeats_every_pixel() -> None:
    images = pictures(2)
    large = enlarged(images, 3)
    assert large.shape == (2, 18, 12, 3)
    for y in range(18):
        for x in range(12):
            assert (large[:, y, x] == images[:, y // 3, x // 3]).all()
    assert enlarged(images, 1) is images


def test_one_picture_follows_the_request() -> None:
    images = pictures(3)
    np.testing.assert_array_equal(one_picture(images), grid(images))
    np.testing.assert_array_equal(one_picture(images[:1]), images[0])
    np.testing.assert_array_equal(one_picture(images[:1], asked(1, layout="grid", padding=1)), grid(images[:1], 1, 1))
    np.testing.assert_array_equal(
        one_picture(images, asked(3, columns=1, padding=0, scale=2)), enlarged(grid(images, 1, 0), 2)
    )


@pytest.mark.parametrize("format", ["png", "npy", "json"])
def test_the_pixel_limit_counts_what_would_really_be_drawn(format: str, tiny_metadata: GeneratorMetadata) -> None:
    """The largest side that is let through is the largest whose pixels, counted by drawing them, fit."""
    n, scale = 3, 2

    def pixels(side: int) -> int:
        images = np.zeros((n, side, side, 1), dtype=np.uint8)
        request = asked(n, format=format, scale=scale)
        return one_picture(images, request).size if format == "png" else enlarged(images, scale).size

    side = bisect.bisect_right(range(4000), MAX_PIXELS, key=pixels) - 1
    for size, fits in ((side, True), (side + 1, False)):
        metadata = dataclasses.replace(tiny_metadata, channels=1, color_mode="L", height=size, width=size)
        request = asked(n, format=format, scale=scale)
        if fits:
            refuse_too_large([request], metadata, NO_LIMIT_BYTES)
        else:
            with pytest.raises(RequestError, match="pixels, this server draws at most") as caught:
                refuse_too_large([request], metadata, NO_LIMIT_BYTES)
            assert (caught.value.code, caught.value.type) == (413, "AnswerTooLarge")


def test_an_array_s_bytes_are_known_before_it_is_drawn(tiny_metadata: GeneratorMetadata) -> None:
    size = len(encode_npy(enlarged(pictures(5), 2)))
    request = asked(5, format="npy", scale=2)
    refuse_too_large([request], tiny_metadata, size)
    with pytest.raises(RequestError, match=f"the answer has {size} bytes"):
        refuse_too_large([request], tiny_metadata, size - 1)
    assert size == NPY_HEADER_BYTES + 5 * 12 * 8 * 3


def test_what_webp_cannot_say_is_refused_before_it_is_drawn(tiny_metadata: GeneratorMetadata) -> None:
    metadata = dataclasses.replace(tiny_metadata, width=256, height=8)
    wide = asked(64, columns=64, format="webp")
    with pytest.raises(RequestError, match=r"16514 x 12 pixels are too many for webp, which ends at 16383"):
        refuse_too_large([wide], metadata, NO_LIMIT_BYTES)
    refuse_too_large([dataclasses.replace(wide, format="png")], metadata, NO_LIMIT_BYTES)


def test_all_requests_of_one_answer_count_together(tiny_metadata: GeneratorMetadata) -> None:
    metadata = dataclasses.replace(tiny_metadata, width=2048, height=2048)
    request = asked(1, format="json")
    refuse_too_large([request] * 4, metadata, NO_LIMIT_BYTES)
    with pytest.raises(RequestError, match="would have 20971520 pixels"):
        refuse_too_large([request] * 5, metadata, NO_LIMIT_BYTES)
