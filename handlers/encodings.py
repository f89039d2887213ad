"""Pixels → the bytes of one image file or array, and the text that travels in it. Equal input, equal bytes."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, PngImagePlugin

DEFAULT_JPEG_QUALITY = 90
# The PNG text's keyword. Compressed when longer than this: a class and a seed are not worth it, latents are.
TEXT_KEYWORD = "sngan"
PLAIN_TEXT_CHARACTERS = 1024
JPEG_TEXT_CHARACTERS = 65_000


def encode_image(
    image: NDArray[np.uint8], format: str = "png", quality: int | None = None, text: str | None = None
) -> bytes:
    """One image as a file.

    Args:
        image: uint8 (h, w, 1) grey or (h, w, 3) RGB.
        format: "png" and, without `quality`, "webp" keep every pixel; "jpeg" keeps every colour's full resolution.
        quality: 1 ... 100, of a lossy format.
        text: ASCII that is written into the file: PNG's text chunk "sngan", or Exif's image description. JPEG has room
            for `JPEG_TEXT_CHARACTERS`; a longer text is left out.
    """
    picture = Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)
    file = io.BytesIO()
    options: dict[str, Any] = {}
    if format == "png":
        if text is not None:
            options["pnginfo"] = PngImagePlugin.PngInfo()
            options["pnginfo"].add_text(TEXT_KEYWORD, text, zip=len(text) > PLAIN_TEXT_CHARACTERS)
    else:
        if text is not None and not (format == "jpeg" and len(text) > JPEG_TEXT_CHARACTERS):
            options["exif"] = Image.Exif()
            options["exif"][ExifTags.Base.ImageDescription] = text
        if format == "jpeg":
            options |= {"quality": quality or DEFAULT_JPEG_QUALITY, "subsampling": 0}
        else:
            options |= {"lossless": True} if quality is None else {"quality": quality}
    picture.save(file, format=format, **options)
    return file.getvalue()


def encode_png(image: NDArray[np.uint8], text: str | None = None) -> bytes:
    """The PNG file of one image, uint8 (h, w, 1) grey or (h, w, 3) RGB."""
    return encode_image(image, "png", text=text)


def encode_npy(images: NDArray[np.uint8]) -> bytes:
    """NumPy's file format of uint8 (n, h, w, c)."""
    file = io.BytesIO()
    np.save(file, images, allow_pickle=False)
    return file.getvalue()
