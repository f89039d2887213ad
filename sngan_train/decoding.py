"""The bytes of one image file → the pixels that are learned from."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from sngan_train.errors import DataError

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"}
MAX_IMAGE_PIXELS = 64 * 10**6  # below Pillow's own bound, so that ours is the message
MAX_LEVEL_16_BIT = 65535


def decode(read: Callable[[], bytes], where: str, image_size: int, channels: int) -> NDArray[np.uint8]:
    """One image as uint8 (C, S, S): its centre square, scaled by Lanczos; transparency becomes white.

    Of an animation the first frame is taken. `where` names the file in errors.

    Raises:
        DataError: the file cannot be read, or is no image that can be used.
    """
    picture = open_picture(read, where, "L" if channels == 1 else "RGB")[0]
    return square(picture, image_size)


def open_picture(read: Callable[[], bytes], where: str, mode: str) -> tuple[Image.Image, str]:
    """(the whole image, upright, in `mode` "L" or "RGB"; the mode that its file has). Same errors as `decode`."""
    try:
        content = read()
    except OSError as error:
        raise DataError(f"{where}: cannot be read ({error.strerror or error})") from error
    try:
        with Image.open(io.BytesIO(content)) as image:
            if image.width * image.height > MAX_IMAGE_PIXELS:
                raise DataError(
                    f"{where}: {image.width}x{image.height} pixels, above the {MAX_IMAGE_PIXELS:,} that are allowed; "
                    "make it smaller or remove it"
                )
            return _in_mode(image, where, mode), image.mode
    except DataError:
        raise
    except Exception as error:  # Pillow's decoders raise what they like at broken files
        raise DataError(f"{where}: not a readable image ({error}); repair or remove it") from error


def square(picture: Image.Image, image_size: int) -> NDArray[np.uint8]:
    """The centre square of an "L" or "RGB" picture as uint8 (C, S, S)."""
    size = (image_size, image_size)
    if picture.size != size:
        picture = ImageOps.fit(picture, size, Image.Resampling.LANCZOS)
    pixels = np.asarray(picture)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _in_mode(image: Image.Image, where: str, mode: str) -> Image.Image:
    """`image` in `mode`, 8 bits a channel, upright as its EXIF orientation says."""
    if image.mode == "F":  # Pillow's conversion would clip, which makes a picture in 0 ... 1 black
        raise DataError(f"{where}: floating-point levels, whose range is not known; save it with 8 or 16 bits")
    picture = ImageOps.exif_transpose(image)
    if picture.mode.startswith("I"):  # 16 bits a pixel, which Pillow's own conversion clips instead of scaling
        levels = np.asarray(picture).astype(np.float64)
        if levels.min() < 0 or levels.max() > MAX_LEVEL_16_BIT:
            raise DataError(f"{where}: levels of more than 16 bits; save it with 8 or 16 bits")
        return Image.fromarray(np.rint(levels / 257.0).astype(np.uint8)).convert(mode)
    if picture.has_transparency_data:
        coloured = picture.convert("RGBA")
        white = Image.new("RGBA", coloured.size, "white")
        picture = Image.alpha_composite(white, coloured)
    return picture.convert(mode)
