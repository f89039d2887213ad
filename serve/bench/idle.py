"""When a server has nothing more to do, as its processor time tells."""

from __future__ import annotations

import contextlib
import time

LOOK_S = 0.2
IDLE_SHARE = 0.25  # of a core, by all of its processes: waiting for requests takes less, drawing an image more


def wait_until_idle(pid: int, limit_s: float) -> bool:
    """Wait until the process `pid` and all below it take next to nothing of the processor; False after `limit_s`."""
    deadline = time.monotonic() + limit_s
    before = _cpu_s(pid)
    while time.monotonic() < deadline:
        time.sleep(LOOK_S)
        now = _cpu_s(pid)
        if now - before < IDLE_SHARE * LOOK_S:
            return True
        before = now
    return False


def _cpu_s(pid: int) -> float:
    import psutil

    seconds = 0.0
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for member in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                times = member.cpu_times()
                seconds += times.user + times.system
    return seconds
