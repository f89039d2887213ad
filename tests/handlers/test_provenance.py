from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from handlers.drawing import draw
from handlers.encodings import encode_image
from handlers.errors import PictureError
from handlers.metadata import GeneratorMetadata
from handlers.provenance import SCHEMA, differences, model_facts, of_image, of_picture, read_provenance
from handlers.request import ImageRequest, request_from_fields
from handlers.session import GeneratorSession

PIXEL = np.zeros((2, 2, 3), dtype=np.uint8)


def written(path: Path, text: str, format: str = "png") -> Path:
    path.write_bytes(encode_image(PIXEL, format, text=text))
    return path


@pytest.mark.parametrize("format", ["png", "webp", "jpeg"])
def test_a_picture_says_how_it_was_made(format: str, tmp_path: Path, tiny_metadata: GeneratorMetadata) -> None:
    hashes = {"generator_seal": "ab" * 32, "generator_ema_sha256": "cd" * 32}
    metadata = dataclasses.replace(tiny_metadata, provenance=hashes)
    request = ImageRequest(n=3, seed=5, classes=(1, 0, 2), truncation=0.5, columns=1, padding=0, scale=2, format=format)
    found = read_provenance(written(tmp_path / "x", of_picture(request, metadata).to_json(), format))
    assert found.index is None
    assert found.model == {
        "name": "sngan",
        "version": "1.2",
        "precision": "float32",
        "file_sha256": "ab" * 32,
        "weights_sha256": "cd" * 32,
    }
    # The fields make the same request again, without a default that might differ elsewhere.
    other = dataclasses.replace(metadata, default_truncation=0.1)
    again = request_from_fields({**found.request, "format": format}, other)
    assert again == dataclasses.replace(request, layout="grid")


def test_the_seed_s_own_classes_are_written_out(tiny_metadata: GeneratorMetadata) -> None:
    request = ImageRequest(n=4, seed=5, classes=None, truncation=None)
    classes = of_picture(request, tiny_metadata).request["class"]
    assert len(classes) == 4
    assert [of_image(request, tiny_metadata, index).request["class"] for index in range(4)] == [[c] for c in classes]


def test_an_image_s_record_does_not_depend_on_its_neighbours(tiny_metadata: GeneratorMetadata) -> None:
    four, two = (ImageRequest(n=n, seed=5, classes=None, truncation=None, format="json") for n in (4, 2))
    assert of_image(four, tiny_metadata, 1) == of_image(two, tiny_metadata, 1)
    assert of_image(four, tiny_metadata, 1).index == 1


def test_an_image_of_given_latents_carries_them(tiny_session: GeneratorSession) -> None:
    metadata = tiny_session.metadata
    z = ((0.5,) * 8, (-0.25,) * 8)
    request = ImageRequest(n=2, seed=5, classes=(0, 1), truncation=None, z=z, format="json")
    record = of_image(request, metadata, 1)
    assert (record.index, record.request) == (0, {"n": 1, "scale": 1, "class": [1], "z": (z[1],)})
    fields = json.loads(record.to_json())["request"]
    assert request_from_fields(fields, metadata).z == (z[1],)


def test_an_unconditional_model_s_record_has_no_class(tiny_metadata: GeneratorMetadata) -> None:
    metadata = dataclasses.replace(tiny_metadata, class_names=())
    assert "class" not in of_picture(ImageRequest(n=1, seed=5, classes=None, truncation=None), metadata).request


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "damaged"),
        ("[" * 100_000, "damaged"),
        ("[]", "damaged"),
        ("{}", "damaged"),
        ('{"schema": "other/2", "model": {}, "request": {}, "index": null}', "says how it was made as 'other/2'"),
        (f'{{"schema": "{SCHEMA}", "model": {{}}, "request": [], "index": null}}', "damaged"),
        (f'{{"schema": "{SCHEMA}", "model": 1, "request": {{}}, "index": null}}', "damaged"),
        (f'{{"schema": "{SCHEMA}", "model": {{}}, "request": {{}}, "index": 64}}', "damaged"),
        (f'{{"schema": "{SCHEMA}", "model": {{}}, "request": {{}}, "index": true}}', "damaged"),
    ],
)
def test_a_damaged_record_is_one_line(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(PictureError, match=words):
        read_provenance(written(tmp_path / "x.png", text))


def test_what_says_nothing_of_its_making(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    with pytest.raises(PictureError, match="No such file"):
        read_provenance(path)
    path.write_bytes(b"no picture")
    with pytest.raises(PictureError, match="no PNG, JPEG or WebP picture"):
        read_provenance(path)
    for format in ("png", "jpeg", "webp"):
        path.write_bytes(encode_image(PIXEL, format))
        with pytest.raises(PictureError, match="does not say how it was made"):
            read_provenance(path)


def test_a_picture_too_large_to_decode_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "x.png", "{}")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1)
    with pytest.raises(PictureError):
        read_provenance(path)


def test_a_text_that_grows_without_end_is_refused(tmp_path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("sngan", " " * 2**21, zip=True)
    Image.fromarray(PIXEL).save(tmp_path / "x.png", pnginfo=info)
    with pytest.raises(PictureError):
        read_provenance(tmp_path / "x.png")


@pytest.mark.parametrize(
    ("before", "now", "words"),
    [
        (("a", "b"), ("a", "b"), ""),
        (("a", "b"), ("x", "b"), "the same weights in another file"),
        (("a", "b"), (None, "b"), "the same weights in another file"),
        (("a", "b"), ("x", "y"), "another model: the SHA-256 of its weights is y… and not b…"),
        (("a", None), ("x", None), "another model: the SHA-256 of its file is x… and not a…"),
        ((None, None), (None, None), "cannot be told"),
        (("a", None), (None, "y"), "cannot be told"),
    ],
)
def test_differences(
    before: tuple[Any, Any], now: tuple[Any, Any], words: str, tiny_metadata: GeneratorMetadata
) -> None:
    facts = [
        {**model_facts(tiny_metadata), "file_sha256": file, "weights_sha256": weights}
        for file, weights in (before, now)
    ]
    found = differences(*facts)
    assert words in found
    assert bool(found) == bool(words)


def test_the_record_s_fields_draw_the_same_pixels(tiny_session: GeneratorSession) -> None:
    request = ImageRequest(n=3, seed=5, classes=None, truncation=0.5)
    fields = of_picture(request, tiny_session.metadata).request
    again = request_from_fields(json.loads(json.dumps(fields)), tiny_session.metadata)
    np.testing.assert_array_equal(draw(tiny_session, again), draw(tiny_session, request))
