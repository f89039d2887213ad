"""Ctrl-C and SIGTERM as a question that the training loop asks between steps."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def stop_requests(*, patient: bool) -> Iterator[Callable[[], bool]]:
    """Turn Ctrl-C and SIGTERM into a question that the loop asks between steps; a second one acts at once.

    Not if `patient`: a scheduler signals every process, and torchrun its own ones once more.
    """
    requested = False

    def on_signal(number: int, frame: object) -> None:
        nonlocal requested
        if requested and not patient:
            raise KeyboardInterrupt
        requested = True

    previous = {}
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            previous[number] = signal.signal(number, on_signal)
    except ValueError:  # not the main thread: whoever called handles signals
        pass
    try:
        yield lambda: requested
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
