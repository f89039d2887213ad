from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from handlers.busy import BusyMark
from handlers.shared_cores import SharedCores, one_after_another

WAIT_S = 30.0


class Neighbours(BusyMark):
    """As many other workers at work as a test says."""

    def __init__(self, others: int = 0) -> None:
        super().__init__(None)
        self.number = others

    def others(self) -> int:
        return self.number


def asking_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handlers.shared_cores.ASK_AGAIN_S", 0.0)


class Runs:
    """Work that counts how much of it is under way at once, and waits for `meet` of it to be."""

    def __init__(self, meet: int = 1, then: Callable[[int], None] = lambda index: None) -> None:
        self.most = self.now = 0
        self.order: list[int] = []
        self._lock, self._then = threading.Lock(), then
        self._barrier = threading.Barrier(meet)

    def __call__(self, index: int) -> int:
        with self._lock:
            self.order.append(index)
            self.now += 1
            self.most = max(self.most, self.now)
        self._barrier.wait(WAIT_S)
        self._then(index)
        with self._lock:
            self.now -= 1
        return index * index


@pytest.mark.parametrize(
    ("cores", "threads", "others", "expected"),
    [
        (2, 1, 0, 2),
        (2, 1, 1, 1),
        (2, 1, 5, 1),  # more workers than cores
        (2, 2, 0, 1),  # as with --latency
        (8, 1, 0, 8),
        (8, 1, 1, 4),
        (8, 1, 2, 2),
        (8, 1, 4, 1),
        (8, 2, 0, 4),
        (1, 1, 0, 1),
    ],
)
def test_a_worker_has_its_share_of_the_cores(cores: int, threads: int, others: int, expected: int) -> None:
    assert SharedCores(Neighbours(others), cores=cores, threads=threads).at_once() == expected


def test_alone_it_uses_every_core_and_the_results_are_in_order() -> None:
    runs = Runs(meet=4)  # if they were not four at once, they would wait in vain
    assert SharedCores(Neighbours(), cores=4, threads=1).run_all(runs, 12) == [index * index for index in range(12)]
    assert runs.most == 4
    assert sorted(runs.order) == list(range(12))


def test_beside_a_busy_neighbour_it_runs_one_at_a_time() -> None:
    runs = Runs()
    assert SharedCores(Neighbours(1), cores=2, threads=1).run_all(runs, 5) == [0, 1, 4, 9, 16]
    assert runs.most == 1
    assert runs.order == [0, 1, 2, 3, 4]


def test_who_comes_to_work_has_its_core_after_the_image_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    asking_always(monkeypatch)
    neighbours = Neighbours()
    here: list[tuple[int, int]] = []

    def then(index: int) -> None:
        neighbours.number = 1
        here.append((index, threading.get_ident()))

    both = Runs(meet=2, then=then)

    def work(index: int) -> int:
        if index < 2:
            return both(index)
        here.append((index, threading.get_ident()))
        return index * index

    assert SharedCores(neighbours, cores=2, threads=1).run_all(work, 6) == [0, 1, 4, 9, 16, 25]
    assert both.most == 2
    assert {thread for index, thread in here if index >= 2} == {threading.get_ident()}


def test_a_core_that_falls_idle_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    asking_always(monkeypatch)
    neighbours = Neighbours(1)
    last_two = Runs(meet=2)

    def work(index: int) -> int:
        if index < 2:
            neighbours.number = 1 - index  # the neighbour's work ends
            return index
        return last_two(index)

    SharedCores(neighbours, cores=2, threads=1).run_all(work, 4)
    assert last_two.most == 2


@pytest.mark.parametrize("bad", range(4))
def test_a_fault_is_raised_when_nothing_runs_any_more(bad: int) -> None:
    ended: list[int] = []

    def work(index: int) -> int:
        if index == bad:
            raise ZeroDivisionError
        ended.append(index)
        return index

    cores = SharedCores(Neighbours(), cores=2, threads=1)
    with pytest.raises(ZeroDivisionError):
        cores.run_all(work, 4)
    before = list(ended)
    assert cores.run_all(lambda index: index, 3) == [0, 1, 2]
    assert ended == before


def test_one_core_has_no_helpers() -> None:
    threads = threading.active_count()
    assert SharedCores(Neighbours(), cores=1, threads=1).run_all(lambda index: index, 3) == [0, 1, 2]
    assert threading.active_count() == threads
    assert one_after_another(lambda index: -index, 3) == [0, -1, -2]


def test_neighbours_are_seen_by_their_marks(tmp_path: Path) -> None:
    file = tmp_path / "busy"
    file.touch()
    ours, other = BusyMark(str(file)), BusyMark(str(file))
    with ours, other:
        assert SharedCores(ours, cores=2, threads=1).at_once() == 1
    with ours:
        assert SharedCores(ours, cores=2, threads=1).at_once() == 2
