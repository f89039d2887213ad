"""Images one by one, and beside them on the cores that other workers leave idle.

TorchServe gives a batch to one worker, however many others have nothing to do. With a worker a core, its images would
wait for one another while cores idle. So a worker runs as many images at once as there are cores for each worker that
is at work: all of them when it is alone, its own one when all are.
"""

from __future__ import annotations

import collections
import concurrent.futures
import time
from collections.abc import Callable
from typing import TypeVar

from handlers.busy import BusyMark

Result = TypeVar("Result")
# To ask which workers are busy takes some microseconds each, of a small network's 200 for an image.
ASK_AGAIN_S = 0.002


def one_after_another(work: Callable[[int], Result], count: int) -> list[Result]:
    """`work` of 0 … `count` - 1, for those who share nothing."""
    return [work(index) for index in range(count)]


class SharedCores:
    """The cores of all workers of one server, as one of them sees them."""

    def __init__(self, mark: BusyMark, *, cores: int, threads: int) -> None:
        """Start no thread yet.

        Args:
            mark: held by this worker while it is at work, and by the others likewise.
            cores: of all workers together.
            threads: of one run.
        """
        self._mark, self._cores, self._threads = mark, cores, threads
        self._helpers = concurrent.futures.ThreadPoolExecutor(max(1, cores // threads - 1), "sngan-helper")
        self._asked_s, self._at_once = -ASK_AGAIN_S, 1

    def at_once(self) -> int:
        """How many runs this worker may have under way now, at least 1."""
        now_s = time.monotonic()
        if now_s - self._asked_s >= ASK_AGAIN_S:
            self._at_once = max(1, self._cores // (1 + self._mark.others()) // self._threads)
            self._asked_s = now_s
        return self._at_once

    def run_all(self, work: Callable[[int], Result], count: int) -> list[Result]:
        """`work` of 0 … `count` - 1, started in this order; raises what one of them raised, when none runs any more."""
        if count < 2 or self._cores // self._threads < 2:
            return one_after_another(work, count)
        waiting = collections.deque(range(count))
        results: dict[int, Result] = {}

        def next_one() -> bool:
            try:
                index = waiting.popleft()
            except IndexError:
                return False
            try:
                results[index] = work(index)
            except BaseException:
                waiting.clear()  # the others' work would be for nothing
                raise
            return True

        def help_out(number: int) -> None:
            # Asked before every image: who comes to work gets the core back within the time of one.
            while self.at_once() > number and next_one():
                pass

        started: list[concurrent.futures.Future[None]] = []
        helpers: dict[int, concurrent.futures.Future[None]] = {}
        try:
            while waiting:
                for number in range(1, min(self.at_once(), len(waiting))):
                    if number not in helpers or helpers[number].done():
                        helpers[number] = self._helpers.submit(help_out, number)
                        started.append(helpers[number])
                next_one()
        finally:
            concurrent.futures.wait(started)
        for helper in started:
            helper.result()
        return [results[index] for index in range(count)]
