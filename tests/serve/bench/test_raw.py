"""The baseline without a server."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from serve.bench.memory import memory_of
from serve.bench.raw import raw_runtime
from serve.errors import ServeError


def test_processes_run_and_are_gone_afterwards(tiny_generator_onnx: Path) -> None:
    before = set(psutil.Process().children())
    with raw_runtime(tiny_generator_onnx, "cpu", processes=2, threads=1) as raw:
        assert len(set(psutil.Process().children()) - before) == 2
        one = raw.burst(images=3, busy=1, seconds=0.2)
        both = raw.burst(images=3, busy=2, seconds=0.2)
    assert set(psutil.Process().children()) == before
    # A rate and a median of the same calls: 3 images each, one after the other.
    assert one.images_per_second == pytest.approx(3000 / one.median_ms, rel=0.8)
    assert both.images_per_second > 0


def test_a_file_that_does_not_open_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ServeError, match=r"without a server does not run: .*nothing\.onnx"):  # noqa: SIM117
        with raw_runtime(tmp_path / "nothing.onnx", "cpu", processes=1, threads=1):
            pass


def test_memory_is_that_of_the_processes(tiny_generator_onnx: Path) -> None:
    with raw_runtime(tiny_generator_onnx, "cpu", processes=2, threads=1):
        found = memory_of(psutil.Process().pid)
        mine = psutil.Process().memory_info().rss / 2**20
    assert found.root_mib == pytest.approx(mine, rel=0.2)
    assert 20 < found.largest_child_mib < 300, "numpy and ONNX Runtime"
    assert found.whole_mib >= found.root_mib + 2 * 20


def test_memory_of_a_process_that_has_ended_is_nothing() -> None:
    assert memory_of(2**22 + 1).whole_mib == 0.0
