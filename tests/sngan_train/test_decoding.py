"""Each kind of file against the colour that was put into it."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from sngan_train import decoding
from sngan_train.decoding import decode
from sngan_train.errors import DataError

RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def centre(content: bytes, channels: int = 3) -> list[int]:
    return decode(lambda: content, "a/1.png", 16, channels)[:, 8, 8].tolist()


def refusal(content: bytes) -> str:
    with pytest.raises(DataError) as raised:
        decode(lambda: content, "a/1.png", 16, 3)
    return str(raised.value)


def palette(index: int, transparent: int | None) -> Image.Image:
    image = Image.new("P", (16, 16), index)
    image.putpalette([*RED, *BLUE])
    if transparent is not None:
        image.info["transparency"] = transparent
    return image


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (encoded(Image.new("L", (16, 16), 128)), (128, 128, 128)),
        (encoded(Image.new("LA", (16, 16), (10, 0))), WHITE),
        (encoded(Image.new("LA", (16, 16), (10, 255))), (10, 10, 10)),
        (encoded(Image.new("RGBA", (16, 16), (10, 20, 30, 0))), WHITE),
        (encoded(Image.new("RGBA", (16, 16), (0, 0, 0, 51))), (204, 204, 204)),  # a fifth of black over white
        (encoded(palette(1, None)), BLUE),
        (encoded(palette(1, 1), transparency=1), WHITE),
        (encoded(palette(0, 1), transparency=1), RED),
        (encoded(palette(0, 0), "GIF", transparency=0), WHITE),
        (encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "TIFF"), RED),
        (encoded(Image.new("1", (16, 16), 1)), WHITE),
        (encoded(Image.new("I;16", (16, 16), 65535)), WHITE),
        (encoded(Image.new("I;16", (16, 16), 32896)), (128, 128, 128)),  # 128 · 257: scaled, not clipped
        (encoded(Image.new("I", (16, 16), 32896), "TIFF"), (128, 128, 128)),
        (encoded(Image.new("RGB", (16, 16), "red"), "GIF", save_all=True, append_images=[palette(1, None)]), RED),
        (encoded(Image.new("RGB", (1, 1), "red")), RED),
        (encoded(Image.new("RGB", (1, 3000), "red")), RED),
    ],
)
def test_modes(content: bytes, expected: tuple[int, int, int]) -> None:
    assert centre(content) == list(expected)


def test_a_cmyk_jpeg_has_its_colour() -> None:
    red, green, blue = centre(encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG"))
    assert red > 240
    assert max(green, blue) < 15


def test_grey_is_luma() -> None:
    assert centre(encoded(Image.new("RGB", (16, 16), RED)), channels=1) == [76]  # ITU-R 601: 0.299 · 255


def test_photographs_are_turned_upright() -> None:
    image = Image.new("RGB", (16, 16), "blue")
    image.paste("red", (0, 0, 16, 8))  # red above; orientation 3 is upside down
    exif = Image.Exif()
    exif[0x0112] = 3
    pixels = decode(lambda: encoded(image, exif=exif), "x", 16, 3)
    assert pixels[:, 2, 8].tolist() == list(BLUE)
    assert pixels[:, 13, 8].tolist() == list(RED)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")  # Pillow says so, as it does of many photographs in the wild
def test_damaged_exif_data_does_not_cost_the_picture() -> None:
    content = encoded(Image.new("RGB", (16, 16), "white"), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01\x03\0")
    assert centre(content) == list(WHITE)


def test_the_centre_square_is_taken() -> None:
    wide = np.zeros((32, 96, 3), np.uint8)
    wide[:, 26:70] = 200  # the centre square and what the filter sees beside it
    assert int(decode(lambda: encoded(Image.fromarray(wide)), "x", 16, 3).min()) == 200


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM"])
def test_truncated_files_are_refused(kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    content = encoded(Image.fromarray(noise), kind)
    assert "a/1.png: not a readable image" in refusal(content[: len(content) // 2])


@pytest.mark.parametrize("content", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n", b"GIF89a"])
def test_other_bytes_are_refused(content: bytes) -> None:
    assert refusal(content).startswith("a/1.png: not a readable image")


def png_header(width: int, height: int) -> bytes:
    """A PNG that promises many pixels in a hundred bytes."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    header = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    data = b"IDAT" + zlib.compress(b"\0" * 100)
    return b"\x89PNG\r\n\x1a\n" + header + struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data))


def test_decompression_bombs_are_refused_by_their_header() -> None:
    assert "a/1.png: 9000x9000 pixels, above the 64,000,000" in refusal(png_header(9000, 9000))
    assert "a/1.png: not a readable image" in refusal(png_header(60_000, 60_000))  # Pillow's own bound


def test_levels_without_a_known_range_are_refused() -> None:
    assert "floating-point levels" in refusal(encoded(Image.new("F", (4, 4), 0.5), "TIFF"))
    assert "more than 16 bits" in refusal(encoded(Image.new("I", (4, 4), 70_000), "TIFF"))


def test_a_file_that_cannot_be_read_is_not_called_damaged() -> None:
    def fail() -> bytes:
        raise PermissionError(13, "Permission denied")

    with pytest.raises(DataError, match=r"^a/1\.png: cannot be read \(Permission denied\)$"):
        decode(fail, "a/1.png", 16, 3)


def test_the_bound_is_on_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "MAX_IMAGE_PIXELS", 100)
    assert "11x10 pixels, above the 100" in refusal(encoded(Image.new("L", (11, 10))))
    assert centre(encoded(Image.new("L", (10, 10), 7)))[0] == 7
