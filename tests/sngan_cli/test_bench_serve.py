"""`sngan bench serve` with a tiny model: real servers, short bursts, and what it refuses."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner

from serve.errors import ServeError
from sngan_cli import bench_serve
from sngan_cli.errors import CommandError
from sngan_cli.main import USER_ERRORS

QUICK = ["--images", "1,4", "--concurrency", "1,8", "--warm-up", "0.5", "--seconds", "0.3", "--rounds", "1"]


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = "import sys; from sngan_cli.main import main; main()"
    command = [sys.executable, "-c", program, "bench", "serve", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.slow
@pytest.mark.torchserve
def test_a_run_from_end_to_end(tiny_generator_onnx: Path, tmp_path: Path) -> None:
    pytest.importorskip("ts")
    before = set(psutil.Process().children(recursive=True))
    output = tmp_path / "bench.json"
    done = bench(str(tiny_generator_onnx), *QUICK, "--provider", "cpu", "-o", str(output))
    assert done.returncode == 0, done.stderr
    values = json.loads(output.read_text())
    assert values["client"] in ("wrk", "asyncio")
    names = [server["name"] for server in values["servers"]]
    assert names[:2] == ["sngan, cpu, throughput", "sngan, cpu, latency"]
    assert any(name.startswith("LitServe ") for name in names) == (importlib.util.find_spec("litserve") is not None)
    assert "a run's folder" in values["left_out"]["TorchServe, stock, PyTorch eager"]
    assert len(values["results"]) == 4 * len(names)
    for result in values["results"]:
        assert result["errors"] == {}
        assert result["rounds"][0]["requests"] > 0
        assert 0 < result["ratio_to_raw"]["median"] < 1.5, "nobody is faster than the model alone, but for noise"
        assert result["latency_ms"]["p50"] > 0
    for server in values["servers"]:
        assert server["memory"]["largest_child_mib"] > 20
    states = {bar["title"].partition(":")[0]: bar["state"] for bar in values["bars"]}
    assert states["cpu, --latency, a lone request"] == "not judged", "the bar is for a larger network"
    assert states["openvino-bf16, 1 image(s) a request, 32 at once"] == "not measured"
    assert f"load by {values['client']}" in done.stdout
    assert "about 0 s left" in done.stderr
    assert set(psutil.Process().children(recursive=True)) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--images", "0"], "--images '0': numbers from 1 to 64"),
        (["--images", "1;2"], "--images '1;2'"),
        (["--concurrency", "1000"], "numbers from 1 to 256"),
        (["--mode", "fast"], "--mode 'fast': one or more of throughput, latency"),
        (["--provider", "gpu"], "--provider 'gpu': one or more of cuda"),
    ],
)
def test_wrong_options(tiny_generator_onnx: Path, arguments: list[str], message: str) -> None:
    found = CliRunner().invoke(bench_serve.app, [str(tiny_generator_onnx), *arguments])
    assert isinstance(found.exception, CommandError)
    assert found.exception.exit_code == 2
    assert message in str(found.exception)


@pytest.mark.parametrize(
    ("name", "message"),
    [("nothing", "no such folder"), ("empty", "is no run|no checkpoint|holds no"), ("only.txt", "neither a .mar nor")],
)
def test_sources_that_cannot_be_served(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "only.txt").write_text("x")
    found = CliRunner().invoke(bench_serve.app, [str(tmp_path / name), "--provider", "cpu", "--no-rivals"])
    assert isinstance(found.exception, USER_ERRORS)
    assert re.search(message, str(found.exception))


def test_a_provider_that_was_named_must_run(tiny_generator_onnx: Path) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime package has CUDA's provider")
    found = CliRunner().invoke(bench_serve.app, [str(tiny_generator_onnx), "--provider", "cuda", "--no-rivals"])
    assert isinstance(found.exception, ServeError)
    assert "no cuda provider" in str(found.exception)
