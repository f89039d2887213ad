"""The image files in a directory, or a zip or tar archive: their names first, their bytes when asked for.

Archives are read in place: nothing of them is written to disk, so a name in one can lead nowhere. Where an archive
holds a name twice the later file counts, as when unpacking.
"""

from __future__ import annotations

import abc
import contextlib
import functools
import lzma
import os
import posixpath
import tarfile
import weakref
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from sngan_train.decoding import IMAGE_SUFFIXES
from sngan_train.errors import DataError

MAX_FILE_BYTES = 64 * 2**20

Reader = Callable[[], bytes]


class Container(abc.ABC):
    """Image files by name.

    Attributes:
        path: the directory or archive.
        files: name, with slashes, → bytes; in the order of the names. Hidden files are not seen.
        folders: every folder's name, so that an empty class is noticed.
        unseen: how many files are no images by their names, by suffix.
        random_access: whether `read` takes a moment for any file. A compressed tar is only read from end to end.
    """

    random_access = True

    def __init__(self, path: Path) -> None:
        self.path = path
        self.folders: set[str] = set()
        self.unseen: Counter[str] = Counter()
        found: dict[str, int] = {}
        for name, size in self._list():
            if _is_hidden(name):
                continue
            suffix = PurePosixPath(name).suffix.lower()
            if size is None:
                self.folders.add(name)
            elif suffix in IMAGE_SUFFIXES:
                found[name] = size
            else:
                self.unseen[suffix] += 1
            self.folders.add(posixpath.dirname(name))
        self.files = {name: found[name] for name in sorted(found, key=lambda name: name.split("/"))}

    @abc.abstractmethod
    def _list(self) -> Iterator[tuple[str, int | None]]:
        """(name, bytes) of every file and (name, None) of every folder; raises DataError."""

    @abc.abstractmethod
    def _read(self, name: str) -> bytes:
        """The bytes of a file in `files`; raises DataError or OSError."""

    def read(self, name: str) -> bytes:
        """The bytes of a file in `files`; safe in threads. Raises DataError with its name, or OSError."""
        if self.files[name] > MAX_FILE_BYTES:
            refuse_size(self.where(name))
        return self._read(name)

    def read_all(self) -> Iterator[tuple[str, Reader]]:
        """(name, a function that reads it) of every file, in the quickest order, which may hold a name twice."""
        for name in self.files:
            yield name, functools.partial(self.read, name)

    def where(self, name: str) -> str:
        """How errors name a file."""
        return f"{self.path}: {name}"


def open_container(path: Path) -> Container:
    """What is at `path`; raises DataError if it is neither a directory nor a whole archive."""
    try:
        if path.is_dir():
            return Directory(path)
        if not path.exists():
            raise DataError(f"{path}: no such folder or archive")
        if path.is_file() and zipfile.is_zipfile(path):
            return ZipArchive(path)
        if path.is_file() and tarfile.is_tarfile(path):
            return CompressedTar(path) if _is_compressed(path) else PlainTar(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    raise DataError(f"{path}: neither a folder nor a readable tar (.tar, .tar.gz, .tar.xz) or zip archive")


class Directory(Container):
    """A directory and all below it; links are followed."""

    def _list(self) -> Iterator[tuple[str, int | None]]:
        waiting: list[tuple[str, frozenset[tuple[int, int]]]] = [("", frozenset())]
        while waiting:
            folder, above = waiting.pop()
            try:
                status = os.stat(self.path / folder)
                identity = (status.st_dev, status.st_ino)
                if identity in above:
                    raise DataError(f"{self.where(folder)}: a link back to a folder that holds it; remove the link")
                with os.scandir(self.path / folder) as entries:
                    for entry in entries:
                        name = posixpath.join(folder, entry.name)
                        if entry.is_dir():
                            if not _is_hidden(name):
                                waiting.append((name, above | {identity}))
                            yield name, None
                        else:  # of a link that leads nowhere, 0: reading it will name it
                            yield name, entry.stat().st_size if entry.is_file() else 0
            except OSError as error:
                where = error.filename or self.where(folder)
                raise DataError(f"{where}: cannot be read ({error.strerror or error})") from error

    def _read(self, name: str) -> bytes:
        file = self.path / name
        if not file.is_file():  # opening a named pipe would wait for ever
            raise DataError(f"{self.where(name)}: a link that leads nowhere, or no regular file; remove it")
        return file.read_bytes()


class ZipArchive(Container):
    """A zip archive; `zipfile` itself takes care of threads."""

    def _list(self) -> Iterator[tuple[str, int | None]]:
        self._members: dict[str, zipfile.ZipInfo] = {}
        try:
            self._archive = zipfile.ZipFile(self.path)
        except (zipfile.BadZipFile, NotImplementedError) as error:
            raise DataError(f"{self.path}: damaged or unreadable zip archive ({error})") from error
        for info in self._archive.infolist():
            name = _inside(info.filename)
            self._members[name] = info
            yield name, None if info.is_dir() else info.file_size

    def _read(self, name: str) -> bytes:
        try:
            return self._archive.read(self._members[name])
        except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, zlib.error) as error:
            # RuntimeError: encrypted
            raise DataError(f"{self.where(name)}: cannot be read from the zip archive ({error})") from error


class PlainTar(Container):
    """A tar archive that is not compressed: a file's bytes lie together at a known place."""

    def _list(self) -> Iterator[tuple[str, int | None]]:
        self._descriptor = os.open(self.path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._descriptor)
        self._offsets: dict[str, int] = {}
        with tarfile.open(self.path) as archive:
            for name, member in _members(archive, self.path):
                self._offsets[name] = member.offset_data
                yield name, member.size if member.isreg() else None

    def _read(self, name: str) -> bytes:
        content = os.pread(self._descriptor, self.files[name], self._offsets[name])
        if len(content) < self.files[name]:
            raise DataError(f"{self.where(name)}: the archive ends before it does")
        return content


class CompressedTar(Container):
    """A compressed tar archive, which is decompressed from its beginning at each passage."""

    random_access = False

    def _list(self) -> Iterator[tuple[str, int | None]]:
        with tarfile.open(self.path) as archive:
            for name, member in _members(archive, self.path):
                yield name, member.size if member.isreg() else None

    def _read(self, name: str) -> bytes:
        raise AssertionError("a compressed tar is read by read_all alone")

    def read_all(self) -> Iterator[tuple[str, Reader]]:
        """Every file in the archive's own order, read before it is yielded."""
        with tarfile.open(self.path) as archive:
            for name, member in _members(archive, self.path):
                if name not in self.files or not member.isreg():
                    continue
                if member.size > MAX_FILE_BYTES:
                    yield name, functools.partial(refuse_size, self.where(name))
                    continue
                with _tar_errors(self.path):
                    content = archive.extractfile(member).read()  # type: ignore[union-attr]
                yield name, functools.partial(bytes, content)


def refuse_size(where: str) -> bytes:
    """Raise the DataError for a file that is too large to be read."""
    raise DataError(f"{where}: larger than {MAX_FILE_BYTES // 2**20} MiB; make it smaller or remove it")


def _members(archive: tarfile.TarFile, path: Path) -> Iterator[tuple[str, tarfile.TarInfo]]:
    """Every file and folder of a tar with its name; raises DataError for images that have no bytes of their own."""
    members = iter(archive)
    while True:
        with _tar_errors(path):
            member = next(members, None)
        if member is None:
            return
        name = _inside(member.name)
        is_image = PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES and not _is_hidden(name)
        if is_image and (member.issym() or member.islnk() or member.issparse()):
            raise DataError(
                f"{path}: {name} is a link or a sparse file; pack anew with "
                "tar --dereference --hard-dereference, without --sparse"
            )
        if member.isreg() or member.isdir():
            yield name, member


@contextlib.contextmanager
def _tar_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, EOFError, OSError, ValueError, zlib.error, lzma.LZMAError) as error:
        raise DataError(f"{path}: damaged or unreadable tar archive ({error})") from error


def _is_compressed(path: Path) -> bool:
    try:
        with tarfile.open(path, "r:"):
            return False
    except tarfile.TarError:
        return True


def _inside(name: str) -> str:
    """A name in an archive as if the archive were the whole disk: ./a, /a and ../a are a."""
    return posixpath.normpath("/" + name).lstrip("/")


def _is_hidden(name: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in name.split("/"))
