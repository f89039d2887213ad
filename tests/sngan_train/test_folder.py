"""Folders and archives as people really have them."""

import io
import os
import tarfile
import time
import zipfile
from pathlib import Path

import pytest
import torch
from PIL import Image

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
    data = load_folder(path, config, lambda text: None)
    assert isinstance(data, ImageData)
    return data


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


@pytest.mark.parametrize("order", [1, -1])
def test_a_compressed_tar_gives_the_order_of_names(tmp_path: Path, order: int) -> None:
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as archive:
        for name, content in list(PLAIN.items())[::order]:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    from_folder = load(put(tmp_path / "d", PLAIN))
    from_archive = load(tmp_path / "x.tar.gz")
    assert torch.equal(from_archive.images, from_folder.images)
    assert from_archive.facts()["sha256"] == from_folder.facts()["sha256"]
    with pytest.raises(DataError, match="a compressed tar cannot be streamed"):
        load(tmp_path / "x.tar.gz", DataConfig(image_size=16, residency="stream"))


def test_an_empty_class_is_named(tmp_path: Path) -> None:
    put(tmp_path, {**PLAIN, "notes/readme.txt": b"x"})
    (tmp_path / "bird").mkdir()
    (tmp_path / ".cache").mkdir()
    with pytest.raises(DataError, match="2 class folders hold no images: bird, notes; put images into them, or remove"):
        load(tmp_path)


def test_an_empty_class_in_an_archives_training_split_is_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name, content in PLAIN.items():
            archive.writestr(f"data/train/{name}", content)
        for name in ("data/train/bird/", "data/test/none/", "data/extra/"):  # only the first is beside the classes
            archive.writestr(name, b"")
    with pytest.raises(DataError, match="1 class folders hold no images: bird;"):
        load(tmp_path / "x.zip")


@pytest.mark.parametrize(
    ("one", "other"),
    [("Cat", "cat"), ("caf\u00e9", "cafe\u0301"), ("stra\u00dfe", "STRASSE")],  # NFC and NFD; full case folding
)
def test_classes_that_look_alike_are_refused(tmp_path: Path, one: str, other: str) -> None:
    source = put(tmp_path, {f"{one}/1.png": png(), f"{other}/2.png": png()})
    with pytest.raises(DataError, match="differ in case or in the encoding of accents alone; rename or merge"):
        load(source)


def test_class_names_are_composed(tmp_path: Path) -> None:
    assert load(put(tmp_path, {"cafe\u0301/1.png": png(), "b/1.png": png()})).class_names == ("b", "caf\u00e9")


@pytest.mark.parametrize("name", [b"a\xff", b"a\nb", b"\x1b[31m"])
def test_class_names_that_cannot_be_printed_are_refused(tmp_path: Path, name: bytes) -> None:
    put(tmp_path, {f"{os.fsdecode(name)}/1.png": png()})
    with pytest.raises(DataError, match="has a name that cannot be printed; rename it") as raised:
        load(tmp_path)
    assert str(raised.value).removeprefix(str(tmp_path)).isprintable()


def test_thousands_of_classes_are_quick(tmp_path: Path) -> None:
    """Twenty thousand classes: quadratic code would take minutes here."""
    content = png()
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for index in range(20_000):
            archive.writestr(f"class{index:05}/1.png", content)
    began = time.perf_counter()
    data = load_folder(tmp_path / "x.zip", DataConfig(image_size=16, residency="stream"), lambda text: None)
    assert time.perf_counter() - began < 15.0  # it takes about 1 s
    assert len(data.class_names) == 20_000
    assert data.fetch(torch.tensor([12_345]))[1].tolist() == [12_345]


def test_what_is_streamed_is_told(tmp_path: Path) -> None:
    lines: list[str] = []
    load_folder(put(tmp_path, PLAIN), DataConfig(image_size=16, residency="stream"), lines.append)
    (line,) = lines
    assert line.startswith("streaming 3 images of 2 classes")
    assert f"sngan doctor --data folder:{tmp_path}" in line
