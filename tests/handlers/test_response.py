from __future__ import annotations

import base64
import dataclasses
import io
import json

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from handlers.errors import Detail, RequestError
from handlers.metadata import GeneratorMetadata
from handlers.request import ImageRequest
from handlers.response import PHRASES, Answer, encode_png, error_answer, grid, image_answer

NO_LIMIT_BYTES = 10**9


def pictures(n: int, height: int = 6, width: int = 4, channels: int = 3) -> NDArray[np.uint8]:
    values = np.arange(n * height * width * channels) * 7 % 255 + 1  # no pixel is as black as the padding
    return values.astype(np.uint8).reshape(n, height, width, channels)


def decoded(png: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(png)))


def answer(metadata: GeneratorMetadata, n: int, format: str = "png", max_bytes: int = NO_LIMIT_BYTES) -> Answer:
    asked = ImageRequest(n=n, seed=5, classes=(1,) * n, truncation=0.5, format=format)
    return image_answer(
        pictures(n), asked, metadata, provider="cpu", request_id="r1", generate_ms=1.25, max_bytes=max_bytes
    )


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


@pytest.mark.parametrize("channels", [1, 3])
def test_png_keeps_every_pixel(channels: int) -> None:
    image = pictures(1, channels=channels)[0]
    assert (decoded(encode_png(image)).reshape(image.shape) == image).all()


def test_one_image_is_itself_and_many_are_a_grid(tiny_metadata: GeneratorMetadata) -> None:
    assert (decoded(answer(tiny_metadata, 1).body) == pictures(1)[0]).all()
    assert (decoded(answer(tiny_metadata, 3).body) == grid(pictures(3))).all()


def test_headers_are_ascii_strings(tiny_metadata: GeneratorMetadata) -> None:
    metadata = dataclasses.replace(tiny_metadata, version="1.0-ä\r\nSet-Cookie: x")
    headers = answer(metadata, 2).headers
    assert headers["X-SNGAN-Seed"] == "5"
    assert headers["X-SNGAN-Count"] == "2"
    assert headers["X-SNGAN-Classes"] == "1,1"
    assert headers["X-SNGAN-Provider"] == "cpu"
    assert headers["X-SNGAN-Variant"] == "float32"
    assert headers["X-SNGAN-Model-Version"] == "1.0-???Set-Cookie: x"
    assert headers["Server-Timing"].startswith("generate;dur=1.2, encode;dur=")
    for name, value in headers.items():
        assert (name + value).isascii()
        assert (name + value).isprintable()


def test_unconditional_answers_have_no_classes(tiny_metadata: GeneratorMetadata) -> None:
    metadata = dataclasses.replace(tiny_metadata, class_names=())
    assert "X-SNGAN-Classes" not in answer(metadata, 1).headers
    record = json.loads(answer(metadata, 1, "json").body)
    assert (record["images"][0]["class"], record["images"][0]["class_name"]) == (None, None)


def test_json_lists_the_images(tiny_metadata: GeneratorMetadata) -> None:
    result = answer(tiny_metadata, 2, "json")
    assert result.media_type == "application/json"
    record = json.loads(result.body)
    images = record.pop("images")
    assert record == {
        "model": {"name": "sngan", "version": "1.2", "variant": "float32", "provider": "cpu"},
        "n": 2,
        "seed": 5,
        "truncation": 0.5,
        "width": 4,
        "height": 6,
        "request_id": "r1",
    }
    for index, image in enumerate(images):
        assert (decoded(base64.b64decode(image.pop("base64"))) == pictures(2)[index]).all()
        assert image == {"index": index, "class": 1, "class_name": "Dog", "seed": 5, "mime": "image/png"}


@pytest.mark.parametrize("format", ["png", "json"])
def test_an_answer_over_the_cap_is_413(format: str, tiny_metadata: GeneratorMetadata) -> None:
    size = len(answer(tiny_metadata, 3, format).body)
    assert answer(tiny_metadata, 3, format, max_bytes=size).status == 200
    with pytest.raises(RequestError, match="ask for a smaller n") as caught:
        answer(tiny_metadata, 3, format, max_bytes=size - 1)
    assert caught.value.code == 413


def test_error_body() -> None:
    detail = Detail(field="n", reason="0 is out of range", allowed="1 ... 64")
    result = error_answer(RequestError(422, "InvalidField", "n: \ud800", [detail]), "r1")
    assert (result.status, result.media_type, result.phrase) == (
        422,
        "application/json",
        "Unprocessable Content",
    )
    assert json.loads(result.body) == {
        "code": 422,
        "type": "InvalidField",
        "message": "n: \ud800",
        "details": [{"field": "n", "reason": "0 is out of range", "allowed": "1 ... 64"}],
        "request_id": "r1",
    }
    assert list(json.loads(result.body))[:3] == ["code", "type", "message"]


def test_phrases_are_ascii() -> None:
    assert all(phrase.isascii() and phrase.isprintable() for phrase in PHRASES.values())
