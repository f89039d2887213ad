from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from serve.errors import StartError
from serve.private_folder import LOCK, PREFIX, private_folder, remove_dead_folders


def test_it_is_private_and_goes_when_the_block_ends(temp: Path) -> None:
    with private_folder() as folder:
        assert folder.parent == temp
        assert folder.name.startswith(f"{PREFIX}{os.getpid()}-")
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        (folder / "store").mkdir()
    assert not folder.exists()
    with pytest.raises(KeyError), private_folder() as folder:
        raise KeyError
    assert not folder.exists()


def test_folders_of_the_living_stay_and_those_of_the_dead_go(temp: Path) -> None:
    program = (
        "import sys, tempfile; tempfile.tempdir = sys.argv[1]\n"
        "from serve.private_folder import private_folder\n"
        "with private_folder() as folder: print(folder, flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", program, str(temp)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with other:
        assert other.stdout is not None
        folder = Path(other.stdout.readline().strip())
        remove_dead_folders(temp)
        assert folder.is_dir(), "its launcher lives"
        other.kill()
    assert folder.is_dir()
    with private_folder() as ours:
        assert not folder.exists()
        assert ours.is_dir()


def test_a_stranger_s_folder_stays(tmp_path: Path) -> None:
    unlocked = tmp_path / f"{PREFIX}notes"
    unlocked.mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / LOCK).touch()
    remove_dead_folders(tmp_path)
    assert unlocked.is_dir()
    assert (tmp_path / "other").is_dir()


def test_a_path_too_long_for_a_socket_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    monkeypatch.delenv("TMPDIR", raising=False)
    with pytest.raises(StartError, match="set TMPDIR to a shorter one"), private_folder():
        pass
    assert list(long.iterdir()) == []


def test_no_folder_for_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    monkeypatch.delenv("TMPDIR", raising=False)
    with pytest.raises(StartError, match="set TMPDIR"), private_folder():
        pass


def test_a_tmpdir_that_cannot_be_written_is_not_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python would take /tmp without a word, and whoever set TMPDIR would look for the server's files in vain."""
    (tmp_path / "file").touch()
    monkeypatch.setattr("tempfile.tempdir", None)
    for unusable in (tmp_path / "missing", tmp_path / "file"):
        monkeypatch.setenv("TMPDIR", str(unusable))
        with pytest.raises(StartError, match=f"^TMPDIR is {unusable}, where nothing can be written"), private_folder():
            pass


def test_no_writable_folder_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr("tempfile.gettempdir", none)
    with pytest.raises(StartError, match=r"can be written: No usable temporary .*; set TMPDIR$"), private_folder():
        pass
