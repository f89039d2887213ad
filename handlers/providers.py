"""Execution providers of ONNX Runtime: our names for them, their order, and the options that each is opened with.

The packages exclude one another: `onnxruntime` has the CPU's provider, `onnxruntime-gpu` CUDA's and TensorRT's beside
it, `onnxruntime-openvino` OpenVINO's. CUDA's and TensorRT's options are written to the documentation and not yet run
on a GPU.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from handlers.errors import ProviderError
from handlers.metadata import GeneratorMetadata
from handlers.processor import BFLOAT16, VNNI, processor_flags

# Our name → ONNX Runtime's. OpenVINO computes in float32, or, as a provider of its own name so that every answer tells
# it, in bfloat16: that changes pixels by a few grey levels, and so is never chosen for anybody.
PROVIDERS = {
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "openvino-bf16": "OpenVINOExecutionProvider",
    "cpu": "CPUExecutionProvider",
}
# "auto" is the first of these that loads. TensorRT is for who names it: it builds an engine for minutes.
AUTO_ORDER = ("cuda", "openvino", "cpu")
# The extra of ours whose package has the provider.
EXTRAS = {"cuda": "gpu", "tensorrt": "gpu", "openvino": "openvino", "openvino-bf16": "openvino", "cpu": "cpu"}
# TensorRT plans for a range of batch sizes; larger batches are run in parts.
TENSORRT_MAX_BATCH = 64
TENSORRT_USUAL_BATCH = 16


def check_name(provider: str) -> None:
    """Raise ProviderError unless `provider` is "auto" or one of PROVIDERS."""
    if provider != "auto" and provider not in PROVIDERS:
        raise ProviderError(f"unknown provider {provider!r}; one of auto, {', '.join(PROVIDERS)}")


def reason_against(provider: str, available: Sequence[str]) -> str | None:
    """Why `provider` cannot run here, as far as it can be known before a session is opened; None if it may.

    Args:
        provider: one of PROVIDERS.
        available: what the ONNX Runtime package was built with, by ONNX Runtime's names.
    """
    if PROVIDERS[provider] not in available:
        remedy = f"`pip install 'sngan[{EXTRAS[provider]}]'` brings it, once the other ONNX Runtime package is removed"
        return f"this ONNX Runtime package has no {provider} provider; {remedy}"
    flags = processor_flags()
    if provider == "openvino-bf16" and flags and not BFLOAT16 & flags:
        # OpenVINO would compute in float32, or slowly imitate bfloat16, and tell nobody.
        return f"this processor does not multiply in bfloat16 (none of {', '.join(sorted(BFLOAT16))}); take openvino"
    return None


def with_options(
    provider: str, threads: int, metadata: GeneratorMetadata, available: Sequence[str], *, cuda_graphs: bool = False
) -> list[tuple[str, dict[str, str]]]:
    """What `InferenceSession(providers=…)` takes for `provider`: it first, then those that run what it cannot.

    Args:
        provider: one of PROVIDERS.
        threads: of one run on the CPU.
        metadata: of the file that is opened.
        available: as for `reason_against`.
        cuda_graphs: whether CUDA records and replays runs, which asks for `handlers.bound_runs`.
    """
    # TensorRT hands on to CUDA what it does not know; everything in the end comes to the CPU.
    order = ("tensorrt", "cuda", "cpu") if provider == "tensorrt" else (provider, "cpu")
    wanted = [name for name in dict.fromkeys(order) if PROVIDERS[name] in available]
    return [(PROVIDERS[name], _options(name, threads, metadata, cuda_graphs)) for name in wanted]


def notes_on(provider: str, metadata: GeneratorMetadata) -> tuple[str, ...]:
    """What whoever runs this file on this provider should know: lines for a log, mostly none."""
    flags = processor_flags()
    if metadata.precision == "float16" and provider == "cpu":
        return ("a float16 file is for GPUs: the CPU provider computes it in float32, and the float32 file is faster",)
    if metadata.precision == "int8" and provider == "cuda":
        return ("CUDA does not multiply an int8 file's integers as such: take float16, or TensorRT",)
    if metadata.precision == "int8" and provider == "cpu" and "avx2" in flags and not VNNI & flags:
        return (
            "this processor has no VNNI: int8 is slower than where it was measured, and sums may saturate; "
            "let `sngan verify` compare the pixels, or take the float32 file",
        )
    return ()


def _options(provider: str, threads: int, metadata: GeneratorMetadata, cuda_graphs: bool) -> dict[str, str]:
    if provider == "cuda":
        return {**_CUDA, "enable_cuda_graph": str(int(cuda_graphs))}
    if provider == "tensorrt":
        return _tensorrt(metadata)
    if provider == "cpu":
        return {}
    return _openvino(threads, {"openvino": "f32", "openvino-bf16": "bf16"}[provider])


# HEURISTIC: the default search tries every algorithm on each new batch size. TF32 would cost the precision that
# "one grey level at most" needs. Not yet run on a GPU.
_CUDA = {
    "cudnn_conv_algo_search": "HEURISTIC",
    "arena_extend_strategy": "kSameAsRequested",
    "use_tf32": "0",
}


def _tensorrt(metadata: GeneratorMetadata) -> dict[str, str]:
    """Engines are kept, as building takes minutes; TensorRT's names for them tell its version, model and GPU."""

    def shapes(batch: int) -> str:
        label = f",label:{batch}" if metadata.num_classes else ""
        return f"z:{batch}x{metadata.latent_dim}{label}"

    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sngan" / "tensorrt"
    return {
        "trt_fp16_enable": str(int(metadata.precision == "float16")),
        "trt_int8_enable": str(int(metadata.precision == "int8")),
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(cache),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(cache),
        "trt_profile_min_shapes": shapes(1),
        "trt_profile_opt_shapes": shapes(TENSORRT_USUAL_BATCH),
        "trt_profile_max_shapes": shapes(TENSORRT_MAX_BATCH),
    }


def _openvino(threads: int, precision: str) -> dict[str, str]:
    """The precision is always named: left alone, OpenVINO may compute in bfloat16 wherever the processor can.

    It would also tie its threads to cores, in every process to the same first ones: two workers would share one core.
    `load_config` wants the JSON itself, and what OpenVINO does not understand in it, it passes over in silence.
    """
    return {
        "device_type": "CPU",
        "num_of_threads": str(threads),
        "load_config": json.dumps({"CPU": {"INFERENCE_PRECISION_HINT": precision, "ENABLE_CPU_PINNING": "NO"}}),
    }
