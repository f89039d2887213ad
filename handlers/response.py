"""Pixels → the bytes, status and headers of one answer."""

from __future__ import annotations

import base64
import io
import time
import zipfile
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handlers.accept import MEDIA_TYPES
from handlers.answer import Answer, json_bytes
from handlers.drawing import labels_of, latents_of
from handlers.encodings import encode_image, encode_npy, encode_png
from handlers.layouts import enlarged, grid, grid_shape, one_picture, refuse_bytes
from handlers.metadata import GeneratorMetadata
from handlers.provenance import model_facts, of_image, of_picture
from handlers.request import ImageRequest

__all__ = ["encode_png", "good_answer", "grid", "image_answer", "image_record", "one_picture"]

FIXED_ZIP_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest that the format can say: equal images, equal bytes


def image_answer(
    images: NDArray[np.uint8],
    request: ImageRequest,
    metadata: GeneratorMetadata,
    *,
    provider: str,
    request_id: str,
    generate_ms: float,
    max_bytes: int,
) -> Answer:
    """The answer with `images`, uint8 (n, h, w, c), in the request's format.

    Raises:
        RequestError: 413 when the body would be longer than `max_bytes`.
    """
    started = time.perf_counter()
    if request.format == "json":
        record = image_record(images, request, metadata, provider, max_bytes)
        body = json_bytes({**record, "request_id": request_id})
    elif request.format == "zip":
        body = _zip_body(images, request, metadata, provider, max_bytes)
    elif request.format == "npy":
        body = encode_npy(enlarged(images, request.scale))
    else:
        text = of_picture(request, metadata).to_json()
        body = encode_image(one_picture(images, request), request.format, request.quality, text)
    refuse_bytes(len(body), max_bytes)
    timing = (generate_ms, (time.perf_counter() - started) * 1000)
    return good_answer(body, MEDIA_TYPES[request.format], [request], metadata, provider, timing)


def good_answer(
    body: bytes,
    media_type: str,
    requests: Sequence[ImageRequest],
    metadata: GeneratorMetadata,
    provider: str,
    timing_ms: tuple[float, float],
) -> Answer:
    """A 200 with all that its headers say.

    Args:
        body: the whole of it.
        media_type: of the body.
        requests: those that it answers, at least one.
        metadata: of the model.
        provider: that ran it.
        timing_ms: milliseconds of drawing and of encoding.
    """
    generate_ms, encode_ms = timing_ms
    headers = {
        **_image_headers(requests, metadata, provider),
        "Server-Timing": f"generate;dur={generate_ms:.1f}, encode;dur={encode_ms:.1f}",
    }
    return Answer(
        status=200,
        media_type=media_type,
        body=body,
        headers=headers,
        images=sum(request.n for request in requests),
        encoding_s=encode_ms / 1000,
    )


def _image_headers(requests: Sequence[ImageRequest], metadata: GeneratorMetadata, provider: str) -> dict[str, str]:
    """What every answer says of its images, in the order of the requests that it answers."""
    headers = {
        "X-SNGAN-Count": str(sum(request.n for request in requests)),
        "X-SNGAN-Model-Version": _ascii(metadata.version),
        "X-SNGAN-Provider": _ascii(provider),
        "X-SNGAN-Variant": _ascii(metadata.precision),
    }
    found = [labels_of(request, metadata) for request in requests]
    labels = [str(label) for one in found if one is not None for label in one]
    if labels:
        headers["X-SNGAN-Classes"] = ",".join(labels)
    digest = model_facts(metadata)["file_sha256"]
    if digest is not None:
        headers["X-SNGAN-Model-SHA256"] = _ascii(digest)
    if len(requests) == 1:
        [request] = requests
        if request.z is None:
            headers["X-SNGAN-Seed"] = str(request.seed)
            headers["X-SNGAN-Truncation"] = "none" if request.truncation is None else repr(request.truncation)
        if request.is_grid:
            rows, columns = grid_shape(request.n, request.columns)
            headers["X-SNGAN-Grid"] = f"{rows}x{columns}"
    return headers


def image_record(
    images: NDArray[np.uint8], request: ImageRequest, metadata: GeneratorMetadata, provider: str, max_bytes: int
) -> dict[str, Any]:
    """The JSON answer's object: facts, and every image as base64.

    Raises:
        RequestError: 413 as soon as the images alone are longer than `max_bytes`.
    """
    record = _facts(request, metadata, provider)
    size = 0
    for image, entry in zip(enlarged(images, request.scale), record["images"], strict=True):
        text = of_image(request, metadata, entry["index"]).to_json()
        file = encode_image(image, request.image_format, request.quality, text)
        entry["base64"] = base64.b64encode(file).decode("ascii")
        size += len(entry["base64"])
        refuse_bytes(size, max_bytes)
    return record


def _zip_body(
    images: NDArray[np.uint8], request: ImageRequest, metadata: GeneratorMetadata, provider: str, max_bytes: int
) -> bytes:
    """A file an image, and the JSON answer's facts as `metadata.json`."""
    record = _facts(request, metadata, provider)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as zipped:  # image files do not shrink

        def add(name: str, content: bytes) -> None:
            zipped.writestr(zipfile.ZipInfo(name, FIXED_ZIP_TIME), content)
            refuse_bytes(archive.tell(), max_bytes)

        for image, entry in zip(enlarged(images, request.scale), record["images"], strict=True):
            label = "" if entry["class"] is None else f"-class-{entry['class']}"
            entry["file"] = f"{entry['index']:02d}{label}.{request.image_format}"
            text = of_image(request, metadata, entry["index"]).to_json()
            add(entry["file"], encode_image(image, request.image_format, request.quality, text))
        add("metadata.json", json_bytes(record))
    return archive.getvalue()


def _facts(request: ImageRequest, metadata: GeneratorMetadata, provider: str) -> dict[str, Any]:
    """What the JSON and the zip answer say beside the pixels."""
    labels = labels_of(request, metadata)
    z = latents_of(request, metadata) if request.return_z else None
    seed = request.seed if request.z is None else None
    entries: list[dict[str, Any]] = []
    for index in range(request.n):
        label = None if labels is None else int(labels[index])
        entry: dict[str, Any] = {
            "index": index,
            "class": label,
            "class_name": None if label is None else metadata.class_names[label],
            "seed": seed,
            "mime": MEDIA_TYPES[request.image_format],
        }
        if z is not None:
            # The shortest decimal that is this float32, not the long one of the float64 next to it.
            entry["z"] = [float(str(value)) for value in z[index]]
        entries.append(entry)
    model = model_facts(metadata)
    return {
        "model": {
            "name": model["name"],
            "version": model["version"],
            "variant": model["precision"],
            "provider": provider,
            "sha256": model["file_sha256"],
        },
        "n": request.n,
        "seed": seed,
        "truncation": request.truncation,
        "width": metadata.width * request.scale,
        "height": metadata.height * request.scale,
        "images": entries,
    }


def _ascii(text: str) -> str:
    """`text` as a header value may hold it: anything but printable ASCII becomes a question mark."""
    return "".join(character if " " <= character <= "~" else "?" for character in text)
