"""How the images of an answer are laid out as pixels, and how many pixels that makes before any is drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from handlers.errors import RequestError
from handlers.metadata import GeneratorMetadata
from handlers.request import GRID_PADDING, ImageRequest

# What an answer may hold before it is encoded: 48 MiB of RGB.
MAX_PIXELS = 16 * 2**20
# What the formats can say, in pixels of width or height.
MAX_SIDES = {"webp": 16383, "jpeg": 65500}
NPY_HEADER_BYTES = 128


def grid(images: NDArray[np.uint8], columns: int | None = None, padding: int = GRID_PADDING) -> NDArray[np.uint8]:
    """One picture of many: uint8 (n, h, w, c) → uint8 (rows·(h + p) + p, columns·(w + p) + p, c), row by row.

    Args:
        images: n ≥ 1 images.
        columns: images a row; None is the smallest number that makes the grid no taller than it is wide.
        padding: black pixels p around every image. Places without an image are black.
    """
    n, height, width, channels = images.shape
    rows, columns = grid_shape(n, columns)
    step_y, step_x = height + padding, width + padding
    picture = np.zeros((rows * step_y + padding, columns * step_x + padding, channels), dtype=np.uint8)
    for index, image in enumerate(images):
        top, left = padding + index // columns * step_y, padding + index % columns * step_x
        picture[top : top + height, left : left + width] = image
    return picture


def grid_shape(n: int, columns: int | None) -> tuple[int, int]:
    """(rows, columns) of a grid of `n` images."""
    columns = columns or math.ceil(math.sqrt(n))
    return math.ceil(n / columns), columns


def enlarged(images: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    """Every pixel of uint8 (…, h, w, c) as a square of `scale` × `scale`."""
    if scale == 1:
        return images
    return images.repeat(scale, axis=-3).repeat(scale, axis=-2)


def one_picture(images: NDArray[np.uint8], request: ImageRequest | None = None) -> NDArray[np.uint8]:
    """The picture of uint8 (n, h, w, c): the image if there is one, the grid of several, or as `request` has it."""
    if request is None:
        return images[0] if len(images) == 1 else grid(images)
    picture = grid(images, request.columns, request.padding) if request.is_grid else images[0]
    return enlarged(picture, request.scale)


def refuse_too_large(requests: Sequence[ImageRequest], metadata: GeneratorMetadata, max_bytes: int) -> None:
    """Before anything is drawn: whether the answer to all of `requests` may become larger than is made or sent.

    Raises:
        RequestError: 413.
    """
    pixels = sum(_pixels(request, metadata, max_bytes) for request in requests)
    if pixels > MAX_PIXELS:
        raise too_large(f"the answer would have {pixels} pixels, this server draws at most {MAX_PIXELS}")


def _pixels(request: ImageRequest, metadata: GeneratorMetadata, max_bytes: int) -> int:
    """Of all that one request asks for; raises RequestError for what its format cannot say, or in too many bytes."""
    height, width, count = metadata.height, metadata.width, request.n
    if request.is_grid:
        rows, columns = grid_shape(request.n, request.columns)
        height = rows * (height + request.padding) + request.padding
        width = columns * (width + request.padding) + request.padding
        count = 1
    height, width = height * request.scale, width * request.scale
    pixels = count * height * width
    longest = MAX_SIDES.get(request.encoding, max(height, width))
    if max(height, width) > longest:
        raise too_large(f"{width} x {height} pixels are too many for {request.encoding}, which ends at {longest}")
    if request.format == "npy":
        refuse_bytes(NPY_HEADER_BYTES + pixels * metadata.channels, max_bytes)
    return pixels


def refuse_bytes(size: int, max_bytes: int) -> None:
    """Raise RequestError, 413, for an answer of `size` bytes where `max_bytes` is the limit.

    TorchServe kills the worker that sends it a longer answer than its own limit.
    """
    if size > max_bytes:
        raise too_large(f"the answer has {size} bytes, this server sends at most {max_bytes}")


def too_large(reason: str) -> RequestError:
    """A 413 with its remedy."""
    return RequestError(413, "AnswerTooLarge", f"{reason}; ask for a smaller n or scale, or another format")
