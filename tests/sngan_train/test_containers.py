"""Names and bytes in directories and archives, the hostile ones too."""

import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from sngan_train import containers
from sngan_train.containers import Container, open_container
from sngan_train.errors import DataError


def write_zip(path: Path, files: list[tuple[str, bytes]]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files:
            archive.writestr(name, content)
    return path


def write_tar(path: Path, files: list[tuple[str, bytes]]) -> Path:
    with tarfile.open(path, f"w:{path.suffix[1:] if path.suffix != '.tar' else ''}") as archive:
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def write(path: Path, files: list[tuple[str, bytes]]) -> Path:
    return write_zip(path, files) if path.suffix == ".zip" else write_tar(path, files)


def contents(container: Container) -> dict[str, bytes]:
    return {name: read() for name, read in container.read_all()}


ARCHIVES = ["x.zip", "x.tar", "x.tar.gz", "x.tar.xz", "x.tar.bz2"]


@pytest.mark.parametrize("archive", ARCHIVES)
def test_archives_give_the_names_in_order_and_the_bytes(tmp_path: Path, archive: str) -> None:
    files = [("b/2.png", b"two"), ("./a/1.jpg", b"one"), ("a.b/3.png", b"three"), ("notes.txt", b""), ("a/.x.png", b"")]
    container = open_container(write(tmp_path / archive, files))
    assert list(container.files.items()) == [("a/1.jpg", 3), ("a.b/3.png", 5), ("b/2.png", 3)]
    assert contents(container) == {"a/1.jpg": b"one", "b/2.png": b"two", "a.b/3.png": b"three"}
    assert container.unseen == {".txt": 1}
    assert container.random_access is (archive in ("x.zip", "x.tar"))
    if container.random_access:
        assert [container.read(name) for name in ("b/2.png", "a/1.jpg")] == [b"two", b"one"]


@pytest.mark.filterwarnings("ignore:Duplicate name")  # zipfile, when it writes one
@pytest.mark.parametrize("archive", ARCHIVES)
def test_of_two_files_of_one_name_the_later_counts(tmp_path: Path, archive: str) -> None:
    container = open_container(
        write(tmp_path / archive, [("a/1.png", b"old"), ("a/2.png", b""), ("a/1.png", b"newer")])
    )
    assert container.files == {"a/1.png": 5, "a/2.png": 0}
    assert contents(container)["a/1.png"] == b"newer"


@pytest.mark.parametrize("archive", ARCHIVES)
def test_names_that_lead_out_of_an_archive_lead_nowhere(tmp_path: Path, archive: str) -> None:
    (tmp_path / "inner").mkdir()
    before = sorted(tmp_path.rglob("*"))
    names = ["../../evil/1.png", "/etc/2.png", "a/../b/3.png"]
    path = write(tmp_path / "inner" / archive, [(name, b"x") for name in names])
    container = open_container(path)
    assert list(container.files) == ["b/3.png", "etc/2.png", "evil/1.png"]
    assert set(contents(container).values()) == {b"x"}
    assert sorted(tmp_path.rglob("*")) == sorted([*before, path])


@pytest.mark.parametrize(
    "name", ["ünïcode 猫/ñ.png", "with space & 'quotes'/$x;\n.png", f"{'long' * 60}/{'n' * 240}.png"]
)
@pytest.mark.parametrize("kind", ["folder", *ARCHIVES])
def test_odd_names(tmp_path: Path, name: str, kind: str) -> None:
    if kind == "folder":
        (tmp_path / kind / name).parent.mkdir(parents=True)
        (tmp_path / kind / name).write_bytes(b"x")
    else:
        write(tmp_path / kind, [(name, b"x")])
    assert contents(open_container(tmp_path / kind)) == {name: b"x"}


def test_links_are_followed_and_loops_refused(tmp_path: Path) -> None:
    store, images = tmp_path / "store", tmp_path / "images"
    (store / "cat").mkdir(parents=True)
    (store / "cat" / "1.png").write_bytes(b"x")
    images.mkdir()
    (images / "cat").symlink_to(store / "cat")
    (images / "again").symlink_to(store / "cat")  # twice is no loop
    (images / "dog").mkdir()
    (images / "dog" / "2.png").symlink_to(store / "cat" / "1.png")
    assert contents(open_container(images)) == dict.fromkeys(("again/1.png", "cat/1.png", "dog/2.png"), b"x")
    (store / "cat" / "back").symlink_to(images)  # a loop through another folder's link
    with pytest.raises(DataError, match="back: a link back to a folder that holds it"):
        open_container(images)


def test_a_link_to_itself_is_named(tmp_path: Path) -> None:
    (tmp_path / "self").symlink_to(tmp_path / "self")
    with pytest.raises(DataError, match="self: cannot be read"):
        open_container(tmp_path)


def test_a_link_to_nowhere_and_a_pipe_are_named_and_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.png").symlink_to(tmp_path / "gone")
    os.mkfifo(tmp_path / "a" / "2.png")
    container = open_container(tmp_path)
    for name in ("a/1.png", "a/2.png"):
        with pytest.raises(DataError, match=rf"{name}: a link that leads nowhere, or no regular file"):
            container.read(name)
    with pytest.raises(DataError, match="neither a folder nor a readable tar"):
        open_container(tmp_path / "a" / "2.png")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.png").write_bytes(b"x")
    (tmp_path / "a" / "1.png").chmod(0)
    with pytest.raises(PermissionError):
        open_container(tmp_path).read("a/1.png")
    (tmp_path / "a").chmod(0)
    try:
        with pytest.raises(DataError, match=r"/a: cannot be read \(Permission denied\)"):
            open_container(tmp_path)
    finally:
        (tmp_path / "a").chmod(0o700)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
@pytest.mark.parametrize("suffix", ["tar", "tar.gz"])
def test_links_in_a_tar_are_refused(tmp_path: Path, kind: bytes, suffix: str) -> None:
    path = tmp_path / f"x.{suffix}"
    with tarfile.open(path, f"w:{suffix.partition('.')[2]}") as archive:
        link = tarfile.TarInfo("a/1.png")
        link.type, link.linkname = kind, "/etc/passwd"
        archive.addfile(link)
    with pytest.raises(DataError, match=r"a/1\.png is a link .*--dereference"):
        open_container(path)


@pytest.mark.parametrize("kind", ["folder", *ARCHIVES])
def test_large_files_are_refused_before_they_are_read(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(containers, "MAX_FILE_BYTES", 10)
    if kind == "folder":
        (tmp_path / kind / "a").mkdir(parents=True)
        (tmp_path / kind / "a" / "1.png").write_bytes(b"x" * 11)
    else:
        write(tmp_path / kind, [("a/1.png", b"x" * 11)])
    with pytest.raises(DataError, match=r"a/1\.png: larger than"):
        contents(open_container(tmp_path / kind))


@pytest.mark.parametrize("archive", ARCHIVES)
def test_torn_archives_are_named(tmp_path: Path, archive: str) -> None:
    path = write(tmp_path / archive, [(f"a/{index}.png", os.urandom(3000)) for index in range(40)])
    path.write_bytes(path.read_bytes()[:60_000])
    with pytest.raises(DataError, match=rf"{archive}: (damaged|neither)"):
        contents(open_container(path))


def test_an_encrypted_or_damaged_file_in_a_zip_is_named(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.zip", [("a/1.png", b"x" * 1000)])
    content = bytearray(path.read_bytes())
    content[41] ^= 255  # inside the compressed bytes
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a/1\.png: cannot be read from the zip archive"):
        open_container(path).read("a/1.png")
    content[41] ^= 255
    for place in (content.find(b"PK\3\4") + 6, content.find(b"PK\1\2") + 8):
        content[place] |= 1  # the bit that says encrypted
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a/1\.png: .*encrypted"):
        open_container(path).read("a/1.png")
