"""What OpenVINO in bfloat16 must reach under load: run by `make test-openvino`, which makes the network for it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import onnxruntime
import pytest

from handlers.processor import BFLOAT16, processor_flags

pytest.importorskip("ts")
GENERATOR = os.environ.get("SNGAN_BENCH_GENERATOR", "")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.torchserve,
    pytest.mark.skipif(
        "OpenVINOExecutionProvider" not in onnxruntime.get_available_providers(),
        reason="needs onnxruntime-openvino: `make test-openvino`",
    ),
    pytest.mark.skipif(not BFLOAT16 & processor_flags(), reason="this processor does not multiply in bfloat16"),
    pytest.mark.skipif(
        not GENERATOR,
        reason="SNGAN_BENCH_GENERATOR names no network to measure with (benchmarks/untrained_generator.py writes one)",
    ),
]
AT_LEAST = {1: 0.7, 16: 0.9}  # images a request → images a second, as a share of ONNX Runtime's alone
WORKER_MIB = 250e6 / 2**20


@pytest.fixture(scope="module")
def measured(bench_serve: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    return bench_serve(GENERATOR, "--provider=openvino-bf16", "--mode=throughput", "--concurrency=32")


@pytest.mark.parametrize("images", AT_LEAST)
def test_throughput(measured: dict[str, Any], images: int) -> None:
    """The best round counts: another program on the machine slows the server and its baseline at different moments."""
    [result] = [result for result in measured["results"] if result["images"] == images]
    assert result["errors"] == {}
    assert result["ratio_to_raw"]["highest"] >= AT_LEAST[images], result["ratio_to_raw"]


def test_a_worker_is_small(measured: dict[str, Any]) -> None:
    [server] = measured["servers"]
    assert server["memory"]["largest_child_mib"] <= WORKER_MIB
