"""Archives made to do harm write nothing."""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from serve import unpack as unpack_module
from serve.errors import ModelFileError
from serve.unpack import unpack

Fill = Callable[[zipfile.ZipFile], None]


def link(archive: zipfile.ZipFile) -> None:
    member = zipfile.ZipInfo("link")
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    archive.writestr(member, "/etc/passwd")


def encrypted(archive: zipfile.ZipFile) -> None:
    archive.writestr("a", b"x")
    archive.infolist()[0].flag_bits |= 1


def twice(archive: zipfile.ZipFile) -> None:
    archive.writestr("a/b", b"x")
    with pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("a/b", b"y")


def unpacked(tmp_path: Path, fill: Fill) -> Path:
    archive, folder = tmp_path / "x.mar", tmp_path / "folder"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
        fill(zipped)
    folder.mkdir()
    unpack(archive, folder)
    return folder


def test_files_and_folders_arrive(tmp_path: Path) -> None:
    def fill(archive: zipfile.ZipFile) -> None:
        archive.writestr("handlers/", b"")
        archive.writestr("handlers/a.py", b"pass")
        archive.writestr("deep/er/b", b"\x00" * 1000)
        archive.writestr("deep/empty/", b"")

    folder = unpacked(tmp_path, fill)
    assert (folder / "handlers/a.py").read_bytes() == b"pass"
    assert (folder / "deep/er/b").read_bytes() == b"\x00" * 1000
    assert (folder / "deep/empty").is_dir()


@pytest.mark.parametrize(
    ("fill", "words"),
    [
        (lambda a: a.writestr("../evil", b""), "outside the folder"),
        (lambda a: a.writestr("a/../../evil", b""), "outside the folder"),
        (lambda a: a.writestr("/evil", b""), "outside the folder"),
        (lambda a: a.writestr("..\\evil", b""), "outside the folder"),
        (lambda a: a.writestr("C:evil", b""), "outside the folder"),
        (link, "a link or a device"),
        (twice, "there twice"),
        (encrypted, "encrypted"),
        (lambda a: a.writestr("b", b"", zipfile.ZIP_LZMA), "oddly compressed"),
        (lambda a: a.writestr("zeros", b"\x00" * 5_000_000), "more than 100-fold"),
        (lambda a: [a.writestr(f"{i}", b"") for i in range(1000)], "1001 members, at most 1000"),
    ],
)
def test_a_bad_member_refuses_the_archive(tmp_path: Path, fill: Fill, words: str) -> None:
    def with_a_good_one(archive: zipfile.ZipFile) -> None:
        archive.writestr("good", b"x")
        fill(archive)

    with pytest.raises(ModelFileError, match=words):
        unpacked(tmp_path, with_a_good_one)
    assert {path.name for path in tmp_path.rglob("*")} == {"x.mar", "folder"}, "nothing is written"


def test_the_total_is_capped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpack_module, "MAX_TOTAL_BYTES", 10)
    with pytest.raises(ModelFileError, match="11 bytes unpacked, at most 10"):
        unpacked(tmp_path, lambda a: a.writestr("a", b"x" * 11))


def test_damage_is_found(tmp_path: Path) -> None:
    archive, folder = tmp_path / "x.mar", tmp_path / "folder"
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("a", b"abcdefgh" * 100)
    content = archive.read_bytes()
    archive.write_bytes(content.replace(b"abcdefgh", b"abcdefgX", 1))
    folder.mkdir()
    with pytest.raises(ModelFileError, match="CRC"):
        unpack(archive, folder)


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x05\x06"])
def test_what_is_no_zip_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.mar").write_bytes(content)
    with pytest.raises(ModelFileError, match="not a readable archive"):
        unpack(tmp_path / "x.mar", tmp_path)
