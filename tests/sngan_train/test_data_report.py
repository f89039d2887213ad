"""A folder with one of everything, against counts made by hand."""

import io
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from sngan_train import residency
from sngan_train.config import DataConfig
from sngan_train.data_report import DataReport, examine_data
from sngan_train.errors import DataError


def png(colour: object, size: tuple[int, int] = (64, 64), mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    Image.new(mode, size, colour).save(file, "PNG")
    return file.getvalue()


FILES = {
    "cat/1.png": png("red"),
    "cat/2.png": png("red"),  # a copy
    "cat/3.png": png(7, (20, 90), "L"),
    "cat/4.png": png("gray", (64, 64)),  # grey in a colour mode
    "dog/1.png": png("red"),  # the cat's
    "dog/2.png": png("blue"),
    "dog/3.png": b"not a picture",
    "dog/4.png": png("blue", (256, 256))[:60],
    "dog/notes.txt": b"",
    "dog/5.heic": b"",
    "bird/readme.txt": b"",
}


def examine(path: Path, image_size: int = 64) -> DataReport:
    return examine_data(DataConfig(source=f"folder:{path}", image_size=image_size), lambda text: None)


@pytest.fixture(params=["folder", "zip"])
def everything(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    if request.param == "zip":
        with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
            for name, content in FILES.items():
                archive.writestr(name, content)
        return tmp_path / "x.zip"
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    return tmp_path


def test_everything_is_counted_and_named(everything: Path) -> None:
    found = examine(everything)
    assert found.images_of == {"cat": 4, "dog": 2}
    assert found.num_images == 6
    assert found.sizes == {(64, 64): 5, (20, 90): 1}
    assert found.modes == {"RGB": 5, "L": 1}
    assert found.grey == 2
    assert [line.partition(": ")[0] for line in found.broken] == ["dog/3.png", "dog/4.png"]
    assert all("not a readable image" in line and str(everything) not in line for line in found.broken)
    assert found.empty_classes == ("bird",)
    assert found.copies == 1
    assert found.conflicts == (("cat/1.png", "dog/1.png"),)
    assert found.unseen == {".txt": 2, ".heic": 1}
    assert found.decoded_bytes == 8 * 3 * 64 * 64
    assert (found.residency, found.refusal) == ("memory", "")


def test_the_colours_of_a_picture_are_seen_after_shrinking(tmp_path: Path) -> None:
    half = Image.new("RGB", (640, 640), "white")
    half.paste((255, 250, 255), (300, 300, 340, 340))  # a faint spot
    (tmp_path / "a").mkdir()
    half.save(tmp_path / "a" / "1.png")
    assert examine(tmp_path).grey == 0


def test_a_compressed_tar_that_cannot_be_held_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tarfile

    monkeypatch.setattr(residency, "MAX_HELD_BYTES", 10)
    (tmp_path / "d" / "a").mkdir(parents=True)
    (tmp_path / "d" / "a" / "1.png").write_bytes(png("red"))
    for suffix in ("tar", "tar.gz"):
        with tarfile.open(tmp_path / f"x.{suffix}", f"w:{suffix.partition('.')[2]}") as archive:
            archive.add(tmp_path / "d", ".")
    assert examine(tmp_path / "x.tar").residency == "stream"
    found = examine(tmp_path / "x.tar.gz")
    assert found.residency == ""
    assert "unpack it" in found.refusal
    assert found.num_images == 1


def test_what_has_no_classes_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(png("red"))
    with pytest.raises(DataError, match="outside any class folder"):
        examine(tmp_path)


@pytest.mark.parametrize("channels", [1, 3])
def test_digits_are_grey(channels: int) -> None:
    found = examine_data(DataConfig(source="digits", image_size=16, channels=channels), lambda text: None)
    assert found.num_images == found.grey == 1797
    assert found.sizes == {(16, 16): 1797}
    assert found.decoded_bytes == 1797 * 16 * 16 * channels
