"""What the processor is and can do, as far as the system tells: it decides which form of a generator is fast."""

from __future__ import annotations

import os
import platform
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")  # Linux; elsewhere nothing is known
# Flags of instructions that multiply 8-bit integers, that multiply whole matrices, and that multiply bfloat16.
VNNI = frozenset({"avx512_vnni", "avx_vnni"})
AMX = frozenset({"amx_tile", "amx_bf16", "amx_int8"})
BFLOAT16 = frozenset({"amx_bf16", "avx512_bf16"})
ARM_INT8 = frozenset({"asimddp", "i8mm"})


def usable_cores() -> int:
    """Cores that this process may run on (ONNX Runtime itself would count the host's)."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS has no affinity
        return os.cpu_count() or 1


def processor_flags() -> frozenset[str]:
    """The instruction sets' names in Linux's spelling, such as "avx512_vnni"; empty where they are not told."""
    return frozenset(_cpuinfo("flags", "Features").split())


def processor_name() -> str:
    """As the operating system calls it; at least the architecture."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def _cpuinfo(*keys: str) -> str:
    """The value of the first line with one of `keys`, else nothing."""
    try:
        lines = CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() in keys:
            return value.strip()
    return ""
