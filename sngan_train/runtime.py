"""Device, precision and randomness.

Nothing random has a state that must be saved: every draw of a step comes from a generator seeded by (seed, step,
stream), so a resumed run walks the same path as one that was never stopped.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import torch

from handlers.latents import raw_integers
from sngan_train.errors import ConfigError

# Streams of handlers.latents.raw_integers; 0 and 1 are the latents and classes of pictures.
STEP_STREAM = 2
DATA_ORDER_STREAM = 3

BFLOAT16_PROCESSOR_FLAGS = {"amx_bf16", "avx512_bf16"}


def choose_device(name: str) -> torch.device:
    """ "auto" is CUDA where there is one. Raises ConfigError for an unknown name or an absent GPU."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda: this torch sees no CUDA GPU; `sngan doctor` says why, or use --device cpu")
    if name not in ("cpu", "cuda"):
        raise ConfigError(f"--device {name!r} is not one of auto, cpu, cuda")
    return torch.device(name)


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """The dtype of the convolutions and matrix products; "auto" is bfloat16 where the hardware multiplies in it."""
    if name == "auto":
        fast = torch.cuda.is_bf16_supported() if device.type == "cuda" else processor_multiplies_bfloat16()
        return torch.bfloat16 if fast else torch.float32
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name]


def processor_multiplies_bfloat16() -> bool:
    """Whether this x86-64 processor has matrix or vector instructions for bfloat16."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    flags = next((line.split() for line in text.splitlines() if line.startswith("flags")), [])
    return bool(BFLOAT16_PROCESSOR_FLAGS & set(flags))


def autocast(device: torch.device, precision: torch.dtype) -> contextlib.AbstractContextManager[None]:
    """The context of a forward pass; does nothing in float32."""
    if precision is torch.float32:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=precision)


def seeded_generator(seed: int, stream: int, index: int, device: torch.device) -> torch.Generator:
    """A generator that depends on (seed, stream, index) alone."""
    generator = torch.Generator(device)
    generator.manual_seed(int(raw_integers(seed, stream, index, 1)[0]) >> 1)  # manual_seed takes 63 bits
    return generator
