"""How many workers a machine, or the part of it that a container may use, can carry.

On a CPU a worker with one thread for each core gives the most images a second: more threads gain nothing there, and
cost when the workers compete. Requests are handed over in batches, for that spares TorchServe and the worker much of
what they do for each; the images of a batch are drawn one by one all the same (docs/operate.md, docs/bench-serve.md).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path

from handlers.processor import usable_cores
from handlers.providers import AUTO_ORDER, PROVIDERS
from handlers.session import import_onnxruntime

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUP = Path("/proc/self/cgroup")
MEMINFO = Path("/proc/meminfo")
NVIDIA = Path("/dev/nvidiactl")
# Resident: TorchServe's JVM under load (290 MB seen) and we ourselves (85); and a worker beside its weights (80).
BASE_BYTES = 400 * 2**20
WORKER_BYTES = 160 * 2**20
# A worker's weights, what ONNX Runtime makes of them for the processor, and the images on their way.
MODEL_COPIES = 3
MAX_WORKERS = 32
# Requests that a worker takes at once, and milliseconds that it waits for them; None is `fitting_batch_size`.
BATCH_ON_PROCESSOR: dict[str, tuple[int | None, int]] = {"cpu": (None, 1), "openvino": (4, 1), "openvino-bf16": (4, 1)}
BATCH_ON_GPU = (16, 5)
# What is spared is worth it beside an image of some 10 ms: the paper's networks at 32 x 32. Larger ones take longer for
# an image, in proportion to its pixels at least, and all of a batch wait for the last of up to 64 in each request.
LARGEST_BATCH = 16
BATCH_PIXELS = LARGEST_BATCH * 32 * 32


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What was chosen for a server.

    Attributes:
        workers: processes that each hold the model.
        threads: of one run on the CPU in each.
        batch_size: requests that a worker takes at once; None is `fitting_batch_size`.
        max_batch_delay_ms: how long it waits for them.
    """

    workers: int
    threads: int
    batch_size: int | None
    max_batch_delay_ms: int


def plan(
    provider: str,
    model_bytes: int,
    *,
    latency: bool,
    workers: int | None = None,
    threads: int | None = None,
    batch_size: int | None = None,
) -> Plan:
    """Choose what the caller left open.

    Args:
        provider: "auto" or one of `PROVIDERS`.
        model_bytes: size of the file to be served.
        latency: the shortest time for a lone request rather than the most images a second.
        workers: the caller's choice, if any; likewise `threads` and `batch_size`.
        threads: see `workers`.
        batch_size: see `workers`.
    """
    provider = likely_provider(provider)
    free = cores()
    if workers is None:
        # A worker on a GPU holds its memory, and one is enough to keep it busy.
        on_processor = provider in BATCH_ON_PROCESSOR
        workers = min(free, MAX_WORKERS, _that_fit(model_bytes)) if on_processor and not latency else 1
    # With a batch every lone request waits for company, so only where the device is so fast that the protocol counts.
    size, delay = BATCH_ON_PROCESSOR.get(provider, BATCH_ON_GPU)
    if latency:
        size, delay = 1, 1
    return Plan(
        workers=workers,
        threads=max(1, free // max(1, workers)) if threads is None else threads,
        batch_size=size if batch_size is None else batch_size,
        max_batch_delay_ms=delay,
    )


def fitting_batch_size(height: int, width: int) -> int:
    """Requests for images of so many pixels that a worker on the CPU provider takes at once, 1 … `LARGEST_BATCH`."""
    return max(1, min(LARGEST_BATCH, BATCH_PIXELS // (height * width)))


def cores() -> int:
    """Processor cores that this process may use: its affinity, and no more than its control groups' quota."""
    quotas = [quota for folder in _own_groups() if (quota := _quota(folder)) is not None]
    return max(1, min([usable_cores(), *(math.ceil(quota) for quota in quotas)]))


def free_memory() -> int | None:
    """Bytes that could still be used: the machine's, and no more than our control groups allow; None if unknown."""
    rooms = [room for folder in _own_groups() if (room := _room(folder)) is not None]
    available = _available()
    return min([*rooms, *([] if available is None else [available])], default=None)


def _that_fit(model_bytes: int) -> int:
    """Workers for which three quarters of the free memory are enough, and at least one."""
    free = free_memory()
    if free is None:
        return MAX_WORKERS
    return max(1, int((free * 3 / 4 - BASE_BYTES) // (WORKER_BYTES + MODEL_COPIES * model_bytes)))


def likely_provider(provider: str) -> str:
    """`provider`, or what "auto" will end on. A package with CUDA does not mean that there is a GPU."""
    if provider != "auto":
        return provider
    available = import_onnxruntime().get_available_providers()
    built = [name for name in AUTO_ORDER if PROVIDERS[name] in available]
    return next((name for name in built if name != "cuda" or NVIDIA.exists()), "cpu")


def _own_groups() -> Iterator[Path]:
    """The folders of this process's control groups and of those around them, version 2's and then version 1's."""
    try:
        lines = OWN_CGROUP.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory") and "cpu" not in controllers.split(","):
            continue
        base = CGROUPS / controllers
        folder = base / path.lstrip("/")
        # In a container the path is often the host's, and the group itself is what is mounted.
        yield from (each for each in (folder, *folder.parents) if each.is_relative_to(base) and each.is_dir())


def _quota(folder: Path) -> float | None:
    """Cores a second that the group may use; None without a limit."""
    words = _words(folder / "cpu.max") or _words(folder / "cpu.cfs_quota_us") + _words(folder / "cpu.cfs_period_us")
    try:
        quota, period = (int(word) for word in words)
    except ValueError:  # no such files, or "max"
        return None
    return quota / period if quota > 0 and period > 0 else None


def _room(folder: Path) -> int | None:
    """Bytes that the group may still take; None without a limit."""
    for limit, usage in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
        try:
            most, now = (int(word) for word in _words(folder / limit) + _words(folder / usage))
        except ValueError:
            continue
        # Version 1 writes "no limit" as nearly 2^63.
        return max(0, most - now) if most < 2**60 else None
    return None


def _available() -> int | None:
    for line in _lines(MEMINFO):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _words(file: Path) -> list[str]:
    return [word for line in _lines(file) for word in line.split()]


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
