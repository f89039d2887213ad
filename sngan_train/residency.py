"""Whether a data set is held in memory or streamed from the disk."""

from __future__ import annotations

from pathlib import Path

from sngan_train.config import DataConfig
from sngan_train.errors import DataError

MAX_HELD_BYTES = 8 * 2**30  # what `auto` holds at most, on however large a machine
HELD_SHARE = 0.5  # of the memory that is free: the networks and the other processes want some too
MEMORY_FILE = Path("/proc/meminfo")
# A container's own limit, by control groups of version 2 and 1.
LIMIT_FILES = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def choose_residency(config: DataConfig, decoded_bytes: int, random_access: bool, where: str) -> str:
    """ "memory" or "stream" for a data set of `decoded_bytes`.

    Raises:
        DataError: `config.residency` asks for what cannot be.
    """
    free = available_memory()
    if config.residency == "memory":
        if decoded_bytes > free:
            raise DataError(
                f"{where}: the images take {gibibytes(decoded_bytes)} at {config.image_size} pixels and "
                f"{gibibytes(free)} of memory are free; use data.residency=stream, fewer images or a smaller size"
            )
        return "memory"
    if config.residency == "auto" and decoded_bytes <= min(MAX_HELD_BYTES, free * HELD_SHARE):
        return "memory"
    if not random_access:
        raise DataError(
            f"{where}: a compressed tar cannot be streamed, since its images cannot be read in any order; unpack it, "
            "or pack the images as .zip or uncompressed .tar"
        )
    return "stream"


def available_memory() -> int:
    """Bytes that may still be allocated without swapping, as far as the system says; else 2**63 - 1."""
    amounts = [2**63 - 1]
    try:
        lines = MEMORY_FILE.read_text().splitlines()
        amounts += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    except OSError:  # macOS
        pass
    for file in LIMIT_FILES:
        try:
            text = file.read_text().strip()
        except OSError:
            continue
        if text.isdigit():  # not "max"
            amounts.append(int(text))
    return min(amounts)


def gibibytes(count: int) -> str:
    """A number of bytes as people read it."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"
