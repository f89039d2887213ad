from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from serve import capacity
from serve.capacity import (
    BASE_BYTES,
    LARGEST_BATCH,
    MAX_WORKERS,
    WORKER_BYTES,
    Plan,
    cores,
    fitting_batch_size,
    free_memory,
    plan,
)

GIB = 2**30
Machine = Callable[..., None]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    """A machine of 8 cores and 16 GiB, whose control groups a test writes down."""
    (tmp_path / "meminfo").write_text(f"MemTotal: 99 kB\nMemAvailable:   {16 * GIB // 1024} kB\n")
    (tmp_path / "self").write_text("")
    monkeypatch.setattr(capacity, "CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(capacity, "OWN_CGROUP", tmp_path / "self")
    monkeypatch.setattr(capacity, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(capacity, "NVIDIA", tmp_path / "no-gpu")
    monkeypatch.setattr(capacity, "usable_cores", lambda: 8)

    def groups(own: str, files: dict[str, str]) -> None:
        (tmp_path / "self").write_text(own)
        for name, content in files.items():
            file = tmp_path / "cgroup" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)

    return groups


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("", {}, 8),
        ("0::/\n", {"cpu.max": "max 100000\n"}, 8),
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "20000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "6400000 100000\n"}, 8),
        # The narrowest of the groups around the process counts.
        ("0::/a/b\n", {"a/cpu.max": "300000 100000", "a/b/cpu.max": "max 100000"}, 3),
        # In a container the path is the host's, and does not exist here.
        ("0::/docker/abc\n", {"cpu.max": "100000 100000"}, 1),
        # Version 1.
        (
            "4:cpu,cpuacct:/x\n",
            {"cpu,cpuacct/x/cpu.cfs_quota_us": "400000", "cpu,cpuacct/x/cpu.cfs_period_us": "100000"},
            4,
        ),
        ("4:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
    ],
)
def test_cores_are_those_of_the_container(machine: Machine, own: str, files: dict[str, str], expected: int) -> None:
    machine(own, files)
    assert cores() == expected


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("", {}, 16 * GIB),
        ("0::/\n", {"memory.max": "max", "memory.current": "5"}, 16 * GIB),
        ("0::/\n", {"memory.max": f"{GIB}", "memory.current": "1024"}, GIB - 1024),
        (
            "9:memory:/x\n",
            {"memory/x/memory.limit_in_bytes": f"{2 * GIB}", "memory/x/memory.usage_in_bytes": "0"},
            2 * GIB,
        ),
        (
            "9:memory:/\n",
            {"memory/memory.limit_in_bytes": "9223372036854771712", "memory/memory.usage_in_bytes": "0"},
            16 * GIB,
        ),
    ],
)
def test_memory_is_the_container_s(machine: Machine, own: str, files: dict[str, str], expected: int) -> None:
    machine(own, files)
    assert free_memory() == expected


def chosen(provider: str = "cpu", *, model_bytes: int = 0, latency: bool = False) -> Plan:
    return plan(provider, model_bytes, latency=latency, workers=None, threads=None)


def test_on_a_cpu_a_worker_a_core_with_one_thread(machine: Machine) -> None:
    assert chosen() == Plan(workers=8, threads=1, batch_size=None, max_batch_delay_ms=1)


def test_for_latency_one_worker_with_all_cores(machine: Machine) -> None:
    assert chosen(latency=True) == Plan(workers=1, threads=8, batch_size=1, max_batch_delay_ms=1)


def test_little_memory_means_fewer_workers_with_more_threads(machine: Machine) -> None:
    room = (BASE_BYTES + 3 * WORKER_BYTES) * 4 // 3 + 1
    machine("0::/\n", {"memory.max": str(room), "memory.current": "0"})
    assert chosen() == Plan(workers=3, threads=2, batch_size=None, max_batch_delay_ms=1)
    assert chosen(model_bytes=WORKER_BYTES).workers == 1
    machine("0::/\n", {"memory.max": "1000", "memory.current": "0"})
    assert chosen().workers == 1


def test_large_machines_are_not_filled(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "usable_cores", lambda: 128)
    (capacity.MEMINFO).unlink()  # unknown memory
    assert chosen() == Plan(workers=MAX_WORKERS, threads=4, batch_size=None, max_batch_delay_ms=1)


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_on_a_gpu_one_worker_waits_for_company(machine: Machine, provider: str) -> None:
    assert chosen(provider) == Plan(workers=1, threads=8, batch_size=16, max_batch_delay_ms=5)


def test_openvino_has_a_worker_a_core_which_waits_a_little(machine: Machine) -> None:
    assert chosen("openvino") == Plan(workers=8, threads=1, batch_size=4, max_batch_delay_ms=1)
    assert chosen("openvino-bf16", latency=True) == Plan(workers=1, threads=8, batch_size=1, max_batch_delay_ms=1)


def test_auto_is_the_cpu_where_there_is_no_gpu(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    class Package:
        @staticmethod
        def get_available_providers() -> list[str]:
            return ["CUDAExecutionProvider", "CPUExecutionProvider"]

    monkeypatch.setattr(capacity, "import_onnxruntime", lambda: Package)
    assert chosen("auto").workers == 8
    capacity.NVIDIA.touch()
    assert chosen("auto") == Plan(workers=1, threads=8, batch_size=16, max_batch_delay_ms=5)


def test_what_the_user_chose_stays(machine: Machine) -> None:
    assert plan("cpu", 0, latency=False, workers=3, threads=None).threads == 2
    assert plan("cpu", 0, latency=False, workers=3, threads=5).threads == 5
    assert plan("cpu", 0, latency=False, batch_size=7).batch_size == 7
    assert plan("cpu", 0, latency=False, workers=0, threads=0).workers == 0, "for ServeConfig to refuse"


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [(1, 1, 16), (28, 28, 16), (32, 32, 16), (32, 64, 8), (48, 48, 7), (64, 64, 4), (128, 128, 1), (512, 512, 1)],
)
def test_larger_images_are_asked_for_in_smaller_batches(height: int, width: int, expected: int) -> None:
    assert fitting_batch_size(height, width) == expected
    # A batch of the largest requests has no more pixels than 16 of them at 32 x 32 have, or is one request.
    assert expected == 1 or expected * height * width <= LARGEST_BATCH * 32 * 32
