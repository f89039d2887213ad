"""What a server holds in memory: its root process, and those below it that hold the model."""

from __future__ import annotations

import contextlib
import dataclasses

MIB = 2**20


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """Resident sets in MiB; what processes share counts in each.

    Attributes:
        root_mib: of the process that was started: of TorchServe, java.
        largest_child_mib: of the largest process below it: of TorchServe, a worker.
        whole_mib: of all together.
    """

    root_mib: float
    largest_child_mib: float
    whole_mib: float


def memory_of(pid: int) -> Memory:
    """Look at the process `pid` and all below it; a process that ends meanwhile counts nothing."""
    import psutil

    root, children = 0.0, [0.0]
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        root = process.memory_info().rss / MIB
        for child in process.children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                children.append(child.memory_info().rss / MIB)
    return Memory(root_mib=root, largest_child_mib=max(children), whole_mib=root + sum(children))
