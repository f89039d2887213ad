"""Pixels → the bytes, status and headers of one answer; and errors likewise."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import math
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from handlers.accept import MEDIA_TYPES
from handlers.drawing import labels_of
from handlers.errors import RequestError
from handlers.metadata import GeneratorMetadata
from handlers.request import ImageRequest

GRID_PADDING = 2
# TorchServe's reason phrases must be constant ASCII: it counts their characters and sends their bytes.
PHRASES = {
    200: "OK",
    400: "Bad Request",
    406: "Not Acceptable",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    422: "Unprocessable Content",
    500: "Internal Server Error",
}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What goes back to one client. Header names and values are ASCII."""

    status: int
    media_type: str
    body: bytes
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def phrase(self) -> str:
        """The reason phrase of the status."""
        return PHRASES[self.status]


def grid(images: NDArray[np.uint8], columns: int | None = None, padding: int = GRID_PADDING) -> NDArray[np.uint8]:
    """One picture of many: uint8 (n, h, w, c) → uint8 (rows·(h + p) + p, columns·(w + p) + p, c), row by row.

    Args:
        images: n ≥ 1 images.
        columns: images a row; None is the smallest number that makes the grid no taller than it is wide.
        padding: black pixels p around every image. Places without an image are black.
    """
    n, height, width, channels = images.shape
    columns = columns or math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    step_y, step_x = height + padding, width + padding
    picture = np.zeros((rows * step_y + padding, columns * step_x + padding, channels), dtype=np.uint8)
    for index, image in enumerate(images):
        top, left = padding + index // columns * step_y, padding + index % columns * step_x
        picture[top : top + height, left : left + width] = image
    return picture


def one_picture(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What a PNG answer shows of uint8 (n, h, w, c): the image if there is one, the grid of several."""
    return images[0] if len(images) == 1 else grid(images)


def encode_png(image: NDArray[np.uint8]) -> bytes:
    """The PNG file of one image, uint8 (h, w, 1) grey or (h, w, 3) RGB. Equal pixels give equal bytes."""
    pixels = image[:, :, 0] if image.shape[2] == 1 else image
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()


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
        RequestError: 413 when the body would be longer than `max_bytes`. TorchServe kills the worker that
            sends it a longer answer than its own limit.
    """
    started = time.perf_counter()
    if request.format == "json":
        body = _json_body(images, request, metadata, provider, request_id)
    else:
        body = encode_png(one_picture(images))
    encode_ms = (time.perf_counter() - started) * 1000
    if len(body) > max_bytes:
        raise RequestError(
            413,
            "AnswerTooLarge",
            f"the answer has {len(body)} bytes, this server sends at most {max_bytes}; ask for a smaller n",
        )
    headers = {
        "X-SNGAN-Seed": str(request.seed),
        "X-SNGAN-Count": str(request.n),
        "X-SNGAN-Model-Version": _ascii(metadata.version),
        "X-SNGAN-Provider": _ascii(provider),
        "X-SNGAN-Variant": _ascii(metadata.precision),
        "Server-Timing": f"generate;dur={generate_ms:.1f}, encode;dur={encode_ms:.1f}",
    }
    labels = labels_of(request, metadata)
    if labels is not None:
        headers["X-SNGAN-Classes"] = ",".join(str(label) for label in labels)
    return Answer(status=200, media_type=MEDIA_TYPES[request.format], body=body, headers=headers)


def error_answer(error: RequestError, request_id: str) -> Answer:
    """The JSON that says what is wrong; its first three keys are those of TorchServe's own errors."""
    record = {
        "code": error.code,
        "type": error.type,
        "message": error.message,
        "details": [dataclasses.asdict(detail) for detail in error.details],
        "request_id": request_id,
    }
    return Answer(status=error.code, media_type=MEDIA_TYPES["json"], body=_json(record))


def _json_body(
    images: NDArray[np.uint8],
    request: ImageRequest,
    metadata: GeneratorMetadata,
    provider: str,
    request_id: str,
) -> bytes:
    labels = labels_of(request, metadata)
    records: list[dict[str, Any]] = []
    for index, image in enumerate(images):
        label = None if labels is None else int(labels[index])
        records.append(
            {
                "index": index,
                "class": label,
                "class_name": None if label is None else metadata.class_names[label],
                "seed": request.seed,
                "mime": MEDIA_TYPES["png"],
                "base64": base64.b64encode(encode_png(image)).decode("ascii"),
            }
        )
    model = {
        "name": metadata.name,
        "version": metadata.version,
        "variant": metadata.precision,
        "provider": provider,
    }
    return _json(
        {
            "model": model,
            "n": request.n,
            "seed": request.seed,
            "truncation": request.truncation,
            "width": metadata.width,
            "height": metadata.height,
            "images": records,
            "request_id": request_id,
        }
    )


def _json(record: Mapping[str, Any]) -> bytes:
    """Compact ASCII JSON: whatever stands in a name, the bytes are valid."""
    return json.dumps(record, separators=(",", ":"), allow_nan=False).encode("ascii")


def _ascii(text: str) -> str:
    """`text` as a header value may hold it: anything but printable ASCII becomes a question mark."""
    return "".join(character if " " <= character <= "~" else "?" for character in text)
