"""Unpack an archive that may have been made to do harm.

Every member is checked before the first is written: its name, its kind, its size and how far it grows.
"""

from __future__ import annotations

import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from serve.errors import ModelFileError

MAX_MEMBERS = 1000
MAX_TOTAL_BYTES = 4 * 2**30
# Weights hardly shrink; a file that grows this much on unpacking is no model. Small files may be all zeros.
MAX_RATIO = 100
RATIO_FREE_BYTES = 2**20


def unpack(archive: Path, folder: Path) -> None:
    """Unpack the zip file `archive` into the existing, empty `folder`.

    Raises:
        ModelFileError: not a zip file, damaged, or with a member that must not be unpacked.
        OSError: the folder cannot be written.
    """
    try:
        with zipfile.ZipFile(archive) as zipped:
            members = zipped.infolist()
            _check(archive, members)
            for member in members:
                target = folder.joinpath(*PurePosixPath(member.filename).parts)
                if member.is_dir():
                    target.mkdir(parents=True, exist_ok=True)
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                with zipped.open(member) as source, target.open("xb") as file:
                    shutil.copyfileobj(source, file)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ModelFileError(f"{archive}: not a readable archive: {error}") from error


def _check(archive: Path, members: list[zipfile.ZipInfo]) -> None:
    """Refuse the whole archive for one bad member."""
    if len(members) > MAX_MEMBERS:
        raise ModelFileError(f"{archive}: {len(members)} members, at most {MAX_MEMBERS} are unpacked")
    total_bytes = sum(member.file_size for member in members)
    if total_bytes > MAX_TOTAL_BYTES:
        raise ModelFileError(f"{archive}: {total_bytes} bytes unpacked, at most {MAX_TOTAL_BYTES} are allowed")
    seen: set[PurePosixPath] = set()
    for member in members:
        path = PurePosixPath(member.filename)
        kind = stat.S_IFMT(member.external_attr >> 16)
        # Windows reads a backslash as a separator and a colon as a drive.
        if path.is_absolute() or ".." in path.parts or not path.parts or set("\\:\0") & set(member.filename):
            raise ModelFileError(f"{archive}: member {member.filename!r} would land outside the folder")
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise ModelFileError(f"{archive}: member {member.filename!r} is a link or a device, not a file")
        if path in seen:
            raise ModelFileError(f"{archive}: member {member.filename!r} is there twice")
        seen.add(path)
        if member.flag_bits & 1 or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ModelFileError(f"{archive}: member {member.filename!r} is encrypted or oddly compressed")
        if member.file_size > max(RATIO_FREE_BYTES, MAX_RATIO * member.compress_size):
            raise ModelFileError(
                f"{archive}: member {member.filename!r} grows from {member.compress_size} to "
                f"{member.file_size} bytes, more than {MAX_RATIO}-fold"
            )
