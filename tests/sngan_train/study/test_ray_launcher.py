"""A grid on a real Ray cluster of two nodes, one of which is killed in the middle."""

import functools
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sngan_train.errors import TrainError
from sngan_train.presets import find_preset
from sngan_train.study.cell import Cell, CellResult

ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")

from ray.cluster_utils import Cluster  # noqa: E402

from sngan_train.study.ray_launcher import launch_on_ray  # noqa: E402

# Ray's own: sockets and log files of processes that it leaves to the garbage collector, and notices of changes to come.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
# How soon a node that says nothing counts as dead; Ray's own patience is half a minute.
IMPATIENT = {"health_check_initial_delay_ms": 1000, "health_check_period_ms": 1000, "health_check_failure_threshold": 3}
NODE = {"num_cpus": 2, "object_store_memory": 80 * 2**20, "include_dashboard": False}
CELL_S = 2.0


def cells(count: int) -> list[Cell]:
    config = find_preset("paper/cifar10-cnn/sn/A")
    return [
        Cell(
            name=f"cell-{number}",
            axes={"method": "sn", "seed": str(number)},
            config=config,
            protocol="quick",
            features="efficientnet-lite0",
        )
        for number in range(count)
    ]


def stand_in(cell: Cell, root: Path, *, attempts: Path) -> CellResult:
    """Leaves a trace of every attempt with the node it ran on, takes a while, and raises for cell 3."""
    node = ray.get_runtime_context().get_node_id()
    (attempts / f"{cell.name} {node} {time.time_ns()}").touch()
    time.sleep(CELL_S)
    if cell.name == "cell-3":
        raise ZeroDivisionError("as asked")
    return CellResult(name=cell.name, axes=cell.axes, fingerprint=cell.fingerprint, status="done", reason=node)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the nodes cannot import a test's module
    made = Cluster(initialize_head=True, head_node_args={**NODE, "_system_config": IMPATIENT})
    yield made
    made.shutdown()
    assert "raylet" not in subprocess.run(["ps", "-eo", "comm"], capture_output=True, text=True, check=True).stdout


@pytest.mark.slow
def test_a_killed_node_costs_no_cell(cluster: Any, tmp_path: Path) -> None:
    other = cluster.add_node(**{key: value for key, value in NODE.items() if key != "include_dashboard"})
    cluster.wait_for_nodes()
    attempts, root = tmp_path / "attempts", tmp_path / "study"
    attempts.mkdir()
    told: list[str] = []

    def report(result: CellResult) -> None:
        if not told:  # the first is there: others are under way on both nodes
            deadline = time.monotonic() + 60
            while not list(attempts.glob(f"* {other.node_id} *")) and time.monotonic() < deadline:
                time.sleep(0.1)
            cluster.remove_node(other, allow_graceful=False)
        told.append(result.name)

    results = launch_on_ray(
        cells(8),
        root,
        run=functools.partial(stand_in, attempts=attempts),
        cpus_per_cell=1,
        gpus_per_cell=0,
        address=cluster.address,
        report=report,
    )
    assert sorted(told) == [f"cell-{number}" for number in range(8)]
    failed = [result for result in results if result.status == "failed"]
    assert [(result.name, result.reason) for result in failed] == [("cell-3", "ZeroDivisionError: as asked")]
    assert sum(result.status == "done" for result in results) == 7
    tries = [path.name.split() for path in attempts.iterdir()]
    lost = {name for name, node, _ in tries if node == other.node_id} - {
        result.name for result in results if result.reason == other.node_id
    }
    assert lost, "no cell ran on the killed node"
    assert all(sum(name == one for name, *_ in tries) >= 2 for one in lost - {"cell-3"})
    assert not list(root.glob(".ray-*"))
    assert not ray.is_initialized()


def test_a_cluster_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(TrainError, match=r"no Ray at 127\.0\.0\.1:9"):
        launch_on_ray(
            cells(1),
            tmp_path,
            run=functools.partial(stand_in, attempts=tmp_path),
            cpus_per_cell=1,
            gpus_per_cell=0,
            address="127.0.0.1:9",
            report=lambda result: None,
        )
    assert os.listdir(tmp_path) == []
