"""Run as a script: become a program that the kernel kills when its parent dies.

    python tethered.py PARENT_PID PROGRAM ARGUMENT...

Whoever kills `sngan serve` with SIGKILL would otherwise leave java behind. The wish survives exec but not
fork, so it is made here, between the two, in a process without threads. Only Linux has it.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Tie this process to its parent, then become the program."""
    parent_pid, program = int(sys.argv[1]), sys.argv[2]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        sys.exit(1)  # the parent died before the wish was made
    os.execv(program, sys.argv[2:])


if __name__ == "__main__":
    main()
