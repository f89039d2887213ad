from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from handlers.busy import BusyMark, is_busy


def test_it_is_seen_from_outside_while_any_worker_is_at_work(tmp_path: Path) -> None:
    file = tmp_path / "busy"
    file.touch()
    first, second = BusyMark(str(file)), BusyMark(str(file))
    assert not is_busy(file)
    with first:
        with second:
            assert is_busy(file)
        assert is_busy(file)
    assert not is_busy(file)


def test_workers_count_the_others_that_are_at_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handlers.busy.LOOK_AROUND_S", 0.0)
    file = tmp_path / "busy"
    file.touch()
    (tmp_path / "busy-2").touch()
    stranger = BusyMark(str(tmp_path / "busy-2"))  # of a version that is being swapped in
    first, second = BusyMark(str(file)), BusyMark(str(file))
    with stranger, first:
        assert (first.others(), second.others()) == (0, 1)
        third = BusyMark(str(file))  # a worker that starts when others have looked around
        with second, third:
            assert (first.others(), second.others(), third.others()) == (2, 2, 2)
        assert (first.others(), second.others(), third.others()) == (0, 1, 1)
    assert (first.others(), second.others(), third.others()) == (0, 0, 0)
    assert BusyMark(None).others() == 0


def test_a_worker_that_was_killed_is_not_busy(tmp_path: Path) -> None:
    file = tmp_path / "busy"
    file.touch()
    program = (
        "import sys; from handlers.busy import BusyMark\n"
        "with BusyMark(sys.argv[1]): print('at work', flush=True); sys.stdin.read()"
    )
    worker = subprocess.Popen(
        [sys.executable, "-c", program, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "at work\n"
        assert is_busy(file)
        other = BusyMark(str(file))
        assert other.others() == 1
        worker.kill()
    assert not is_busy(file)
    assert other.others() == 0


def test_where_no_file_can_be_made_a_worker_works_unseen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object, **settings: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    file = tmp_path / "busy"
    file.touch()
    seen = BusyMark(str(file))
    monkeypatch.setattr("tempfile.mkstemp", full)
    unseen = BusyMark(str(file))
    with seen, unseen:
        assert (unseen.others(), seen.others()) == (1, 0)
        assert is_busy(file)
    assert not is_busy(file)


def test_without_a_file_nothing_is_marked_and_a_wrong_one_is_said(tmp_path: Path) -> None:
    with BusyMark(None):
        pass
    with pytest.raises(FileNotFoundError):
        BusyMark(str(tmp_path / "missing"))
