from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from handlers.encodings import JPEG_TEXT_CHARACTERS, encode_image, encode_npy, encode_png


def picture(channels: int = 3) -> NDArray[np.uint8]:
    """Smooth, as photographs are: what JPEG is for."""
    y, x, c = np.mgrid[0:32, 0:24, 0:channels]
    return (127.5 + 60 * np.sin(y / 7 + c) + 60 * np.cos(x / 9)).astype(np.uint8)


def decoded(file: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(file)) as image:
        return np.asarray(image)


@pytest.mark.parametrize("channels", [1, 3])
def test_png_and_webp_without_a_quality_keep_every_pixel(channels: int) -> None:
    image = picture(channels)
    np.testing.assert_array_equal(decoded(encode_png(image)).reshape(image.shape), image)
    webp = decoded(encode_image(image, "webp"))  # WebP knows no grey
    np.testing.assert_array_equal(webp, np.broadcast_to(image, webp.shape))


@pytest.mark.parametrize("format", ["jpeg", "webp"])
def test_quality_trades_closeness_for_bytes(format: str) -> None:
    image = picture()
    files = [encode_image(image, format, quality) for quality in (5, 95)]
    errors = [np.abs(decoded(file).astype(int) - image).mean() for file in files]
    assert len(files[0]) < len(files[1])
    assert errors[1] < errors[0]
    assert errors[1] < 2.0  # grey levels; a wrong channel order or layout would be tens


def test_jpeg_s_default_is_90_at_full_colour_resolution() -> None:
    assert encode_image(picture(), "jpeg") == encode_image(picture(), "jpeg", 90)
    with Image.open(io.BytesIO(encode_image(picture(), "jpeg"))) as image:
        assert image.layer[0][1:3] == image.layer[1][1:3] == (1, 1)  # type: ignore[attr-defined]


@pytest.mark.parametrize("length", [10, 5000])
def test_a_png_carries_its_text_before_its_pixels(length: int) -> None:
    text = "x" * length
    file = encode_png(picture(), text)
    with Image.open(io.BytesIO(file)) as image:  # opened, not decoded
        assert image.info["sngan"] == text
    assert (b"zTXt" in file) == (length > 1024)
    np.testing.assert_array_equal(decoded(file), picture())


@pytest.mark.parametrize("format", ["jpeg", "webp"])
def test_jpeg_and_webp_carry_it_as_a_description(format: str) -> None:
    with Image.open(io.BytesIO(encode_image(picture(), format, text="how"))) as image:
        assert image.getexif()[0x010E] == "how"


def test_a_text_that_jpeg_has_no_room_for_is_left_out() -> None:
    for length, there in ((JPEG_TEXT_CHARACTERS, True), (JPEG_TEXT_CHARACTERS + 1, False)):
        with Image.open(io.BytesIO(encode_image(picture(), "jpeg", text="x" * length))) as image:
            assert (0x010E in image.getexif()) == there


def test_npy_is_numpy_s_own() -> None:
    images = np.stack([picture(), picture()])
    loaded = np.load(io.BytesIO(encode_npy(images)), allow_pickle=False)
    np.testing.assert_array_equal(loaded, images)
    assert loaded.dtype == np.uint8
