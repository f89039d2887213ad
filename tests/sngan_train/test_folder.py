"""Folders and archives as people really have them."""

import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sngan_train import folder as folder_module
from sngan_train.config import DataConfig
from sngan_train.data import ImageData
from sngan_train.errors import DataError
from sngan_train.folder import load_folder

CONFIG = DataConfig(image_size=16, channels=3)


def png(colour: str | int = "red", size: tuple[int, int] = (16, 16), mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    Image.new(mode, size, colour).save(file, "PNG")
    return file.getvalue()


def put(root: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def load(path: Path, config: DataConfig = CONFIG) -> ImageData:
    return load_folder(path, config, lambda text: None)


PLAIN = {"dog/1.png": png("blue"), "cat/1.png": png("red"), "cat/2.png": png("lime")}


def test_each_folder_is_a_class_in_the_order_of_names(tmp_path: Path) -> None:
    data = load(put(tmp_path, {**PLAIN, "cat/.hidden.png": b"x", "cat/readme.txt": b"x", ".git/x.png": b"x"}))
    assert data.class_names == ("cat", "dog")
    assert data.labels.tolist() == [0, 0, 1]
    assert data.images.shape == (3, 3, 16, 16)
    assert data.images[:, :, 0, 0].tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]


@pytest.mark.parametrize("suffix", ["zip", "tar", "tar.gz", "tar.xz"])
def test_archives_hold_the_same(tmp_path: Path, suffix: str) -> None:
    source = put(tmp_path / "images", PLAIN)
    archive = tmp_path / f"images.{suffix}"
    if suffix == "zip":
        with zipfile.ZipFile(archive, "w") as file:
            for path in sorted(source.rglob("*.png")):
                file.write(path, path.relative_to(source))
    else:
        with tarfile.open(archive, f"w:{suffix.partition('.')[2]}") as file:
            file.add(source, ".", filter=None)
    from_archive, from_folder = load(archive), load(source)
    assert from_archive.class_names == from_folder.class_names
    assert sorted(from_archive.labels.tolist()) == from_folder.labels.tolist()
    assert from_archive.images.flatten(1).sum() == from_folder.images.flatten(1).sum()


def test_the_training_split_is_taken_and_told(tmp_path: Path) -> None:
    files = {f"data/train/{name}": content for name, content in PLAIN.items()}
    data = load(put(tmp_path, {**files, "data/test/cat/9.png": png()}))
    assert len(data) == 3
    assert "split train (test, train found)" in data.origin


def test_a_single_class_is_a_class(tmp_path: Path) -> None:
    assert load(put(tmp_path, {"cat/1.png": png()})).class_names == ("cat",)


@pytest.mark.parametrize(
    ("content", "channels", "expected"),
    [
        (png(128, mode="L"), 3, [128, 128, 128]),
        (png((10, 20, 30, 0), mode="RGBA"), 3, [255, 255, 255]),  # transparent becomes white
        (png((255, 0, 0), mode="RGB"), 1, [76]),  # ITU-R 601: 0.299 · 255
        (png(65535, mode="I;16"), 1, [255]),
        (png(32896, mode="I;16"), 1, [128]),  # 128 · 257: scaled, not clipped
        (png(1, mode="1"), 1, [255]),
    ],
)
def test_modes(tmp_path: Path, content: bytes, channels: int, expected: list[int]) -> None:
    data = load(put(tmp_path, {"a/1.png": content}), DataConfig(image_size=16, channels=channels))
    assert data.images[0, :, 8, 8].tolist() == expected


def test_cmyk_jpeg_and_palette_gif_are_read(tmp_path: Path) -> None:
    for name, mode in (("a/1.jpg", "CMYK"), ("a/2.gif", "P")):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        Image.new(mode, (20, 16)).save(path)
    assert len(load(tmp_path)) == 2


def test_other_sizes_keep_their_centre(tmp_path: Path) -> None:
    wide = np.zeros((32, 96, 3), np.uint8)
    wide[:, 26:70] = 200  # the centre square and what the filter sees beside it
    Image.fromarray(wide).save(tmp_path / "wide.png")
    data = load(put(tmp_path / "d", {"a/wide.png": (tmp_path / "wide.png").read_bytes()}))
    assert int(data.images.min()) == 200


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "no images; expected one sub-folder a class"),
        ({"a/readme.txt": b"x"}, "no images"),
        (
            {"a/1.png": png(), "loose.png": png()},
            "1 images lie outside any class folder, the first is loose.png",
        ),
        ({"a/1.png": png(), "a/bad.png": b"not a picture"}, "a/bad.png: not a readable image"),
        ({"a/1.png": png(), "a/torn.png": png(size=(64, 64))[:60]}, "a/torn.png: not a readable image"),
        ({"test/a/1.png": png(), "val/a/1.png": png()}, "but none named train"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, files: dict[str, bytes], message: str) -> None:
    tmp_path.joinpath("d").mkdir()
    with pytest.raises(DataError) as raised:
        load(put(tmp_path / "d", files))
    assert message in str(raised.value)
    assert str(tmp_path / "d") in str(raised.value)


def test_missing_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder or archive"):
        load(tmp_path / "nothing")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(DataError, match="neither a folder nor a readable tar"):
        load(tmp_path / "text")


def test_torn_archives_are_named(tmp_path: Path) -> None:
    source = put(tmp_path / "images", {f"a/{i}.png": png(size=(64, 64)) for i in range(40)})
    archive = tmp_path / "images.tar.xz"
    with tarfile.open(archive, "w:xz") as file:
        file.add(source, ".")
    archive.write_bytes(archive.read_bytes()[:-200])
    with pytest.raises(DataError, match=r"images\.tar\.xz: (damaged|neither)"):
        load(archive)


def test_sizes_are_capped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = put(tmp_path, {"a/1.png": png(size=(200, 200))})
    monkeypatch.setattr(folder_module, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(DataError, match="200x200 pixels, above 100"):
        load(source)
    monkeypatch.setattr(folder_module, "MAX_FILE_BYTES", 10)
    with pytest.raises(DataError, match=r"1\.png: larger than"):
        load(source)
    monkeypatch.undo()
    monkeypatch.setattr(folder_module, "MAX_DATA_BYTES", 10)
    with pytest.raises(DataError, match="held in memory"):
        load(source)
