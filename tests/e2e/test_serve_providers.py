"""`sngan serve` on the other ONNX Runtime packages, which exclude one another: run by `make test-openvino` and
`make test-ort-gpu`, each in an environment of its own, and skipped where the package is another.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from handlers.drawing import draw
from handlers.processor import BFLOAT16, processor_flags
from handlers.request import ImageRequest
from handlers.session import GeneratorSession
from serve.capacity import MAX_WORKERS, cores
from serve.exchange import exchange

pytest.importorskip("ts")
pytestmark = [pytest.mark.torchserve, pytest.mark.slow]

AVAILABLE = onnxruntime.get_available_providers()
needs_openvino = pytest.mark.skipif(
    "OpenVINOExecutionProvider" not in AVAILABLE, reason="needs onnxruntime-openvino: `make test-openvino`"
)
needs_cuda_build = pytest.mark.skipif(
    "CUDAExecutionProvider" not in AVAILABLE, reason="needs onnxruntime-gpu: `make test-ort-gpu`"
)
without_gpu = pytest.mark.skipif(Path("/dev/nvidia0").exists(), reason="there is a GPU, so nothing falls back")
does_bfloat16 = bool(BFLOAT16 & processor_flags())

SERVE = [sys.executable, "-c", "from sngan_cli.main import main; main()", "serve"]
FIELDS = {"n": 9, "class": 1, "seed": 3, "format": "json"}
# docs/serve.md: on providers other than the CPU's a value may differ by a grey level.
FLOAT32_LEVELS = 1
# Eight bits of mantissa over eight products of numbers up to 2, in units of a grey level.
BFLOAT16_LEVELS = 7
START_LIMIT_S = 60.0
METRICS_S = 30.0

Serve = Callable[..., contextlib.AbstractContextManager[Any]]


def images_of(server: Any) -> tuple[np.ndarray, str]:
    """Pixels, int (n, h, w, c), and the provider that the answer names."""
    answer = server.post(json.dumps(FIELDS).encode())
    assert answer.status == 200, answer.body
    files = [base64.b64decode(entry["base64"]) for entry in json.loads(answer.body)["images"]]
    return np.stack([np.asarray(Image.open(io.BytesIO(file))) for file in files]).astype(int), answer.headers[
        "x-sngan-provider"
    ]


def refused(generator: Path, *options: str) -> str:
    """What a server that does not start says last; the exit code is not 0, and in seconds."""
    ports = [
        "--port=0",
        "--management-port=0",
        "--metrics-port=0",
        "--grpc-inference-port=0",
        "--grpc-management-port=0",
    ]
    done = subprocess.run(
        [*SERVE, str(generator), *options, *ports], capture_output=True, text=True, timeout=START_LIMIT_S, check=False
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr.rstrip().splitlines()[-1]


@pytest.fixture(scope="module")
def on_the_cpu(tiny_session: GeneratorSession) -> np.ndarray:
    request = ImageRequest(n=9, seed=3, classes=(1,) * 9, truncation=None)
    return draw(tiny_session, request).astype(int)


@needs_openvino
@pytest.mark.parametrize("provider", ["openvino", "auto"])
def test_openvino_serves_the_same_images(
    serve_command: Serve, tiny_mar: Path, on_the_cpu: np.ndarray, provider: str
) -> None:
    with serve_command(tiny_mar, "--provider", provider) as server:
        images, named = images_of(server)
        assert len(server.workers) == min(cores(), MAX_WORKERS)
    assert named == "openvino"
    assert np.abs(images - on_the_cpu).max() <= FLOAT32_LEVELS


@needs_openvino
@pytest.mark.skipif(not does_bfloat16, reason="this processor does not multiply in bfloat16")
def test_openvino_in_bfloat16_serves_nearly_the_same_images_and_says_so(
    serve_command: Serve, tiny_mar: Path, on_the_cpu: np.ndarray
) -> None:
    with serve_command(tiny_mar, "--provider", "openvino-bf16") as server:
        images, named = images_of(server)
    assert named == "openvino-bf16"
    assert FLOAT32_LEVELS < np.abs(images - on_the_cpu).max() <= BFLOAT16_LEVELS


@needs_openvino
@pytest.mark.skipif(does_bfloat16, reason="this processor multiplies in bfloat16")
def test_bfloat16_is_refused_where_the_processor_has_none(tiny_mar: Path) -> None:
    assert "this processor does not multiply in bfloat16" in refused(tiny_mar, "--provider", "openvino-bf16")


@needs_openvino
def test_openvino_s_package_has_no_cuda(tiny_mar: Path) -> None:
    said = refused(tiny_mar, "--provider", "cuda")
    assert said.startswith("error: this ONNX Runtime package has no cuda provider; ")
    assert "pip install 'sngan[gpu]'" in said


@needs_cuda_build
@without_gpu
def test_auto_falls_back_to_the_cpu_and_says_so_everywhere(
    serve_command: Serve, wait_for: Callable[..., float], tiny_mar: Path, on_the_cpu: np.ndarray
) -> None:
    with serve_command(tiny_mar, "--provider", "auto") as server:
        images, named = images_of(server)
        # The log that the operator sees, the header, the metric.
        assert any("sngan: the cuda provider did not load" in line and "running on cpu" in line for line in server.said)

        def metrics() -> str:
            return exchange(server.metrics_url, timeout_s=METRICS_S).body.decode()

        wait_for(lambda: "sngan_provider_fallback{" in metrics(), "the metric", METRICS_S)
        [line] = [line for line in metrics().splitlines() if line.startswith("sngan_provider_fallback{")]
    assert named == "cpu"
    assert (images == on_the_cpu).all()
    assert 'provider="cpu"' in line
    assert float(line.rpartition(" ")[2]) == 1


@needs_cuda_build
@without_gpu
@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_a_named_provider_that_does_not_load_stops_the_start(tiny_mar: Path, provider: str) -> None:
    said = refused(tiny_mar, "--provider", provider)
    assert said.startswith(f"error: the worker did not load the model: the {provider} provider did not load")
    assert "`sngan doctor` says more" in said


@needs_cuda_build
@without_gpu
def test_the_doctor_says_what_to_do_about_it() -> None:
    command = [sys.executable, "-c", "from sngan_cli.main import main; main()", "doctor"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=START_LIMIT_S, check=False)
    told = " ".join((done.stdout + done.stderr).split())
    assert "CUDA is built in but does not load" in told
    assert "its libraries come with pip install 'sngan[gpu]'" in told
