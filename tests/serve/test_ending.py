"""Families of processes that listen, do not listen, or grow while they are being stopped."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from serve import ending
from serve.ending import stop

WAIT_S = 20.0  # for another process to get its turn on a busy machine


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "nothing happened in time"
        time.sleep(0.02)


def is_gone(process: psutil.Process) -> bool:
    """Whether it has ended; a zombie has."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    return True


def test_stop_ends_a_family_that_does_not_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "STOP_S", 0.2)
    monkeypatch.setattr(ending, "KILL_S", 0.2)
    # One of the children has left java's process group, one has not.
    deaf = "trap '' TERM; setsid sleep 1000 & sleep 1000 & wait; sleep 1000"
    process = subprocess.Popen(["sh", "-c", deaf], start_new_session=True)
    wait_for(lambda: len(psutil.Process(process.pid).children(recursive=True)) >= 2)
    family = psutil.Process(process.pid).children(recursive=True)
    stop(process)
    assert process.returncode == -9
    wait_for(lambda: all(is_gone(member) for member in family))


def test_stop_ends_what_is_born_while_it_stops(tmp_path: Path) -> None:
    late = tmp_path / "late"
    program = f"trap 'sleep 1000 & echo $! > {late}; exit 0' TERM; echo ready; while :; do sleep 0.01; done"
    process = subprocess.Popen(["sh", "-c", program], start_new_session=True, stdout=subprocess.PIPE)
    with process:
        assert process.stdout is not None
        process.stdout.readline()
        stop(process)
        assert process.returncode == 0
    pid = int(late.read_text())
    wait_for(lambda: not psutil.pid_exists(pid) or is_gone(psutil.Process(pid)))


def test_kill_children_ends_those_that_do_not_listen_and_theirs() -> None:
    """In a process of its own, for it would end what other tests have started."""
    program = (
        "import subprocess, sys\n"
        "from serve.ending import kill_children\n"
        "deaf = \"trap '' TERM INT; sleep 1000 & echo $!; wait\"\n"
        "child = subprocess.Popen(['sh', '-c', deaf], stdout=subprocess.PIPE, text=True, start_new_session=True)\n"
        "print(child.stdout.readline(), flush=True)\n"
        "kill_children()\n"
        "sys.exit(child.wait(20))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 247, "-9 in a byte"
    grandchild = int(done.stdout)
    wait_for(lambda: not psutil.pid_exists(grandchild) or is_gone(psutil.Process(grandchild)))
