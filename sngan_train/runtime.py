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


def choose_device(name: str, local_rank: int = 0) -> torch.device:
    """ "auto" is CUDA where there is one; several processes of a machine take a GPU each.

    Sets what the documentation recommends for convolutions on CUDA. Raises ConfigError for an unknown name or
    an absent GPU. Not yet run on a GPU.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda: this torch sees no CUDA GPU; `sngan doctor` says why, or use --device cpu")
    if name not in ("cpu", "cuda"):
        raise ConfigError(f"--device {name!r} is not one of auto, cpu, cuda")
    if name == "cpu":
        return torch.device("cpu")
    torch.set_float32_matmul_precision("high")  # TF32 in what autocast leaves in float32
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True  # shapes never change within a run
    device = torch.device("cuda", local_rank)
    torch.cuda.set_device(device)
    return device


def reason_not_to_compile(device: torch.device) -> str | None:
    """Why torch.compile cannot be used on `device`, found out on a trifle, or None."""
    try:
        probe = torch.ones(2, device=device)
        torch.compile(lambda x: x.sin() + 1.0)(probe)
    except Exception as error:  # whatever the compiler's tool chain raises
        return str(error).strip().partition("\n")[0] or repr(error)
    return None


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
