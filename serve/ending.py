"""End java and its workers: in order, by force if they do not listen, or by force at once; none is left.

TorchServe ends its workers when it is asked to end, but not when it is killed, nor those that it is just starting.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil

STOP_S = 15.0  # java takes 2.4 ... 4.5 s after SIGTERM
KILL_S = 5.0
POLL_S = 0.1


def stop(process: subprocess.Popen[bytes]) -> None:
    """End java and everything that it started, in order if it listens, by force if it does not."""
    import psutil

    family = []
    with contextlib.suppress(psutil.NoSuchProcess):
        family = psutil.Process(process.pid).children(recursive=True)
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for survivor in wait_for_the_end(family, KILL_S):
        with contextlib.suppress(psutil.NoSuchProcess):
            survivor.kill()
    # A worker born between the look and java's end has java's process group.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    wait_for_the_end(family, KILL_S)


def kill_children() -> None:
    """Kill all that this process has started, for a user who will not wait: `stop` then returns at once."""
    import psutil

    for member in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()


def wait_for_the_end(family: list[psutil.Process], limit_s: float) -> list[psutil.Process]:
    """Wait at most that many seconds; those that still run then.

    A zombie has ended. Where we are process 1 of a container, nobody fetches the orphans' exit codes.
    """
    import psutil

    def runs(member: psutil.Process) -> bool:
        with contextlib.suppress(psutil.NoSuchProcess):
            return member.is_running() and member.status() != psutil.STATUS_ZOMBIE
        return False

    deadline = time.monotonic() + limit_s
    while any(map(runs, family)) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    return [member for member in family if runs(member)]
