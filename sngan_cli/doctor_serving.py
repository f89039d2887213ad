"""`sngan doctor`: which package or file would make serving on this machine faster, and by how much.

Every figure is images a second in batches of 16 with the `cifar10` generator, against its plain float32 graph on ONNX
Runtime's CPU provider; `docs/bench-infer.md` tells the machines and the commands.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from handlers.processor import ARM_INT8, VNNI
from sngan_cli.doctor import ONNX_RUNTIME_PACKAGES, Finding, Verdict

SOURCE = "docs/bench-infer.md; `sngan bench infer DIR` measures yours"
# On one machine with AMX.
AMX_BFLOAT16 = "6 to 7"
AMX_INT8 = "2.7"
# On one with AVX-512, VNNI and bfloat16 instructions, and no AMX.
AVX512_BFLOAT16 = "2.6"
INT8 = "2.5"
OPENVINO_INT8 = "4.5"
CPU_TARGET = "1.2 to 1.4"


def faster_serving(flags: frozenset[str], gpu_names: str, installed: Sequence[str]) -> Iterator[Finding]:
    """What would be faster than the float32 file on the CPU provider; of a machine with a GPU, that it has one.

    Args:
        flags: of the processor, as `handlers.processor.processor_flags`; empty if unknown.
        gpu_names: NVIDIA's GPUs; empty without any.
        installed: the extras of ours whose ONNX Runtime package is installed.
    """
    if gpu_names:
        text = f"{gpu_names}: the extra gpu serves on it; how much faster than the processor has not been measured yet"
        yield _finding(text, "gpu", installed, "serve with --provider cuda")
        return
    if "amx_bf16" in flags:
        yield _bfloat16("AMX", AMX_BFLOAT16, installed)
    elif "avx512_bf16" in flags:
        yield _bfloat16("AVX-512 bfloat16, no AMX", AVX512_BFLOAT16, installed)
    export = "sngan export RUN -o DIR --precision fp32,int8 writes one if it is exact enough"
    if "amx_int8" in flags:  # on OpenVINO int8 has not been measured with AMX
        yield _finding(f"AMX: an int8 file draws {AMX_INT8} times as fast ({SOURCE})", then=export)
    elif VNNI & flags:
        with_openvino = f"with the extra openvino {OPENVINO_INT8} times"
        text = f"VNNI: an int8 file draws {INT8} times as fast, {with_openvino} ({SOURCE})"
        yield _finding(text, "openvino", installed, export)
    elif not flags:
        yield _finding("this system does not tell what the processor can do: `sngan bench infer DIR` finds out")
    elif ARM_INT8 & flags:
        yield _finding("Arm with int8 products: an int8 file may be faster, which has not been measured on Arm yet")
    elif "avx512_bf16" not in flags:
        yield _finding(
            "no AMX, no AVX-512 bfloat16, no VNNI: nothing is known to be faster than the float32 file for the target "
            f"cpu, {CPU_TARGET} times as fast as the plain one ({SOURCE})"
        )


def _bfloat16(feature: str, ratio: str, installed: Sequence[str]) -> Finding:
    text = f"{feature}: the extra openvino draws {ratio} times as fast in bfloat16, pixels a few levels off ({SOURCE})"
    return _finding(text, "openvino", installed, "serve with --provider openvino-bf16")


def _finding(text: str, extra: str = "", installed: Sequence[str] = (), then: str = "") -> Finding:
    """A note whose remedy begins with exchanging the ONNX Runtime package, if it needs `extra` and has another."""
    steps: list[str] = []
    if extra and extra not in installed:
        steps = [f"pip uninstall -y {ONNX_RUNTIME_PACKAGES[other]}" for other in installed]
        steps += [f"pip install 'sngan[{extra}]'"]
    remedy = ", then ".join([*steps, then] if then else steps)
    return Finding(subject="serving", verdict=Verdict.NOTE, text=text, remedy=remedy)
