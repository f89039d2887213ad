from __future__ import annotations

import base64
import dataclasses
import io
import json
import zipfile
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from handlers.answer import PHRASES, Answer, error_answer
from handlers.errors import Detail, RequestError
from handlers.latents import draw_latents
from handlers.layouts import enlarged, grid
from handlers.metadata import GeneratorMetadata
from handlers.request import ImageRequest
from handlers.response import image_answer

NO_LIMIT_BYTES = 10**9


def pictures(n: int, height: int = 6, width: int = 4, channels: int = 3) -> NDArray[np.uint8]:
    values = np.arange(n * height * width * channels) * 7 % 255 + 1  # no pixel is as black as the padding
    return values.astype(np.uint8).reshape(n, height, width, channels)


def decoded(png: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(png)))


def answer(
    metadata: GeneratorMetadata, n: int, format: str = "png", max_bytes: int = NO_LIMIT_BYTES, **how: Any
) -> Answer:
    classes = (1,) * n if metadata.num_classes else None
    asked = ImageRequest(**{"n": n, "seed": 5, "classes": classes, "truncation": 0.5, "format": format, **how})
    return image_answer(
        pictures(n), asked, metadata, provider="cpu", request_id="r1", generate_ms=1.25, max_bytes=max_bytes
    )


def test_one_image_is_itself_and_many_are_a_grid(tiny_metadata: GeneratorMetadata) -> None:
    assert (decoded(answer(tiny_metadata, 1).body) == pictures(1)[0]).all()
    assert (decoded(answer(tiny_metadata, 3).body) == grid(pictures(3))).all()


@pytest.mark.parametrize(
    ("format", "media_type"),
    [("png", "image/png"), ("jpeg", "image/jpeg"), ("webp", "image/webp")],
)
def test_a_picture_is_in_the_format_and_layout_that_was_asked_for(
    format: str, media_type: str, tiny_metadata: GeneratorMetadata
) -> None:
    result = answer(tiny_metadata, 3, format, columns=1, padding=0, scale=2)
    assert (result.status, result.media_type) == (200, media_type)
    with Image.open(io.BytesIO(result.body)) as image:
        assert (image.format, image.size) == (format.upper(), (8, 36))
    assert result.headers["X-SNGAN-Grid"] == "3x1"
    expected = enlarged(grid(pictures(3), 1, 0), 2).astype(int)
    limit = 60 if format == "jpeg" else 0  # noise of single pixels is what JPEG cannot keep
    assert np.abs(decoded(result.body) - expected).mean() <= limit


def test_npy_is_all_pixels(tiny_metadata: GeneratorMetadata) -> None:
    result = answer(tiny_metadata, 3, "npy", scale=2)
    assert result.media_type == "application/x-npy"
    np.testing.assert_array_equal(np.load(io.BytesIO(result.body), allow_pickle=False), enlarged(pictures(3), 2))
    assert "X-SNGAN-Grid" not in result.headers


@pytest.mark.parametrize("image_format", ["png", "webp"])
def test_zip_holds_a_file_an_image_and_what_is_known_of_them(
    image_format: str, tiny_metadata: GeneratorMetadata
) -> None:
    result = answer(tiny_metadata, 2, "zip", image_format=image_format, return_z=True)
    assert result.media_type == "application/zip"
    with zipfile.ZipFile(io.BytesIO(result.body)) as zipped:
        names = [f"00-class-1.{image_format}", f"01-class-1.{image_format}", "metadata.json"]
        assert zipped.namelist() == names
        for index in range(2):
            np.testing.assert_array_equal(decoded(zipped.read(names[index])), pictures(2)[index])
        record = json.loads(zipped.read("metadata.json"))
    assert [image["file"] for image in record["images"]] == names[:2]
    assert [len(image["z"]) for image in record["images"]] == [8, 8]
    assert "base64" not in record["images"][0]
    assert result.body == answer(tiny_metadata, 2, "zip", image_format=image_format, return_z=True).body


def test_headers_are_ascii_strings(tiny_metadata: GeneratorMetadata) -> None:
    metadata = dataclasses.replace(
        tiny_metadata, version="1.0-ä\r\nSet-Cookie: x", provenance={"generator_seal": "ab" * 32}
    )
    result = answer(metadata, 2)
    headers = result.headers
    assert (result.images, result.reason) == (2, None)
    assert headers["X-SNGAN-Truncation"] == "0.5"
    assert headers["X-SNGAN-Model-SHA256"] == "ab" * 32
    assert headers["X-SNGAN-Grid"] == "1x2"
    assert answer(metadata, 1, truncation=None).headers["X-SNGAN-Truncation"] == "none"
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
        "model": {"name": "sngan", "version": "1.2", "variant": "float32", "provider": "cpu", "sha256": None},
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


def test_json_returns_latents_that_draw_the_same_again(tiny_metadata: GeneratorMetadata) -> None:
    record = json.loads(answer(tiny_metadata, 3, "json", return_z=True).body)
    z = np.array([image["z"] for image in record["images"]], dtype=np.float32)
    np.testing.assert_array_equal(z, draw_latents(5, range(3), 8, truncation=0.5))


def test_an_answer_to_latents_names_no_seed(tiny_metadata: GeneratorMetadata) -> None:
    given = {"z": ((0.5,) * 8,), "truncation": None}
    assert "X-SNGAN-Seed" not in answer(tiny_metadata, 1, **given).headers
    record = json.loads(answer(tiny_metadata, 1, "json", return_z=True, **given).body)
    assert (record["seed"], record["images"][0]["seed"], record["images"][0]["z"]) == (None, None, [0.5] * 8)


@pytest.mark.parametrize("format", ["png", "json", "zip", "npy", "webp", "jpeg"])
def test_an_answer_over_the_cap_is_413(format: str, tiny_metadata: GeneratorMetadata) -> None:
    size = len(answer(tiny_metadata, 3, format).body)
    assert answer(tiny_metadata, 3, format, max_bytes=size).status == 200
    with pytest.raises(RequestError, match="ask for a smaller n or scale, or another format") as caught:
        answer(tiny_metadata, 3, format, max_bytes=size - 1)
    assert caught.value.code == 413


def test_error_body() -> None:
    detail = Detail(field="n", reason="0 is out of range", allowed="1 ... 64")
    result = error_answer(RequestError(422, "InvalidField", "n: \ud800", [detail]), "r1")
    assert (result.images, result.reason) == (0, "InvalidField")
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
