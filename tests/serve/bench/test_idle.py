from __future__ import annotations

import subprocess
import sys
import time

from serve.bench.idle import wait_until_idle

# Works for a second in a process below the one that is watched, and then waits.
PROGRAM = """
import subprocess, sys
work = "import time; end = time.monotonic() + 1.0\\nwhile time.monotonic() < end: pass\\ninput()"
subprocess.run([sys.executable, "-c", work])
"""


def test_what_works_below_is_waited_for() -> None:
    process = subprocess.Popen([sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE)
    time.sleep(0.3)
    started = time.monotonic()
    try:
        assert not wait_until_idle(process.pid, 0.1)
        assert wait_until_idle(process.pid, 30.0)
        assert time.monotonic() - started > 0.5
    finally:
        process.communicate(b"\n")


def test_what_has_gone_is_idle() -> None:
    assert wait_until_idle(2**22 + 1, 5.0)
