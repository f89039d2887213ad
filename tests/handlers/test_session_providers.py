"""Which provider runs a generator: one that is named, or none; what "auto" takes, and that it says what failed."""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from handlers.errors import GeneratorFileError, ProviderError
from handlers.metadata import GeneratorMetadata
from handlers.processor import BFLOAT16, processor_flags, usable_cores
from handlers.providers import PROVIDERS
from handlers.session import GeneratorSession

# Eight products a pixel and a tanh in float32, in another order.
FLOAT32_TOLERANCE = 2e-6
REAL_SESSION = onnxruntime.InferenceSession
needs_openvino = pytest.mark.skipif(
    "OpenVINOExecutionProvider" not in onnxruntime.get_available_providers(),
    reason="this ONNX Runtime package is not onnxruntime-openvino",
)


MakeGenerator = Callable[[Path, GeneratorMetadata], Path]


def test_an_unknown_provider_is_refused(tiny_generator_onnx: Path) -> None:
    with pytest.raises(ProviderError, match="one of auto, cuda, "):
        GeneratorSession(tiny_generator_onnx, provider="gpu")


def test_a_provider_that_is_not_there_is_refused(tiny_generator_onnx: Path) -> None:
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has the provider")
    with pytest.raises(ProviderError, match="no cuda provider"):
        GeneratorSession(tiny_generator_onnx, provider="cuda")


def pretend_available(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [*names, "CPUExecutionProvider"])


def replaced_by_the_cpu(path: str, options: object, providers: list[object], **rest: object) -> object:
    """As ONNX Runtime does with a provider whose libraries are missing: no exception, another provider."""
    return REAL_SESSION(path, options, providers=["CPUExecutionProvider"])


def failing(path: str, options: object, providers: list[object], **rest: object) -> object:
    """As ONNX Runtime does with a provider that rejects its options."""
    if len(providers) == 1:
        return REAL_SESSION(path, options, providers=providers)
    raise RuntimeError("no such device\nand a long story")


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [(replaced_by_the_cpu, "the cuda provider did not load"), (failing, r"did not load \(no such device\)")],
)
def test_a_provider_that_does_not_run_is_never_taken_for_one_that_does(
    monkeypatch: pytest.MonkeyPatch, tiny_generator_onnx: Path, behaviour: Callable[..., object], reason: str
) -> None:
    pretend_available(monkeypatch, "CUDAExecutionProvider", "OpenVINOExecutionProvider")
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None)
    monkeypatch.setattr(onnxruntime, "InferenceSession", behaviour)
    with pytest.raises(ProviderError, match=reason):
        GeneratorSession(tiny_generator_onnx, provider="cuda")
    session = GeneratorSession(tiny_generator_onnx)
    assert session.provider == "cpu"
    assert session.fallback is not None
    assert "the openvino provider did not load" in session.fallback  # the last that failed before the CPU


def test_a_broken_file_is_not_the_provider_s_fault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pretend_available(monkeypatch, "CUDAExecutionProvider")
    (tmp_path / "g.onnx").write_bytes(b"garbage")
    with pytest.raises(GeneratorFileError, match="not a readable ONNX generator"):
        GeneratorSession(tmp_path / "g.onnx", provider="cuda")


@pytest.mark.parametrize("name", ["tensorrt", "openvino-bf16"])
def test_auto_never_takes(monkeypatch: pytest.MonkeyPatch, tiny_generator_onnx: Path, name: str) -> None:
    """Not even where it is the only one that would load: no engine for minutes, no other pixels, unasked."""
    opened: list[object] = []

    def spy(path: str, options: object, providers: list[object], **rest: object) -> object:
        opened.extend(providers)
        return REAL_SESSION(path, options, providers=["CPUExecutionProvider"])

    pretend_available(monkeypatch, PROVIDERS[name])
    monkeypatch.setattr(onnxruntime, "InferenceSession", spy)
    GeneratorSession(tiny_generator_onnx)
    assert "TensorrtExecutionProvider" not in str(opened)
    assert "bf16" not in str(opened)


def test_a_note_says_that_float16_is_for_gpus(
    tmp_path: Path, make_generator: MakeGenerator, tiny_metadata: GeneratorMetadata
) -> None:
    half = dataclasses.replace(tiny_metadata, precision="float16")
    session = GeneratorSession(make_generator(tmp_path / "g.onnx", half), provider="cpu")
    assert "for GPUs" in session.notes[0]


@needs_openvino
def test_openvino_draws_the_same_and_bfloat16_really_is_bfloat16(tiny_generator_onnx: Path) -> None:
    z = np.linspace(-2, 2, 40 * 8, dtype=np.float32).reshape(40, 8)
    labels = np.arange(40) % 3
    expected = GeneratorSession(tiny_generator_onnx, provider="cpu").generate(z, labels)
    session = GeneratorSession(tiny_generator_onnx, provider="openvino")
    assert session.provider == "openvino"
    assert session.fallback is None
    np.testing.assert_allclose(session.generate(z, labels), expected, atol=FLOAT32_TOLERANCE)
    assert GeneratorSession(tiny_generator_onnx).provider == "openvino"
    if not BFLOAT16 & processor_flags():
        with pytest.raises(ProviderError, match="bfloat16"):
            GeneratorSession(tiny_generator_onnx, provider="openvino-bf16")
        return
    rounded = GeneratorSession(tiny_generator_onnx, provider="openvino-bf16").generate(z, labels)
    largest = abs(rounded - expected).max()
    # Eight bits of mantissa at inputs up to 2 and eight of them: far from float32, and near the image.
    assert FLOAT32_TOLERANCE * 100 < largest < 0.05


@needs_openvino
@pytest.mark.skipif(usable_cores() < 2, reason="on one core there is nothing to choose")
def test_openvino_ties_no_thread_to_a_core(tiny_generator_onnx: Path) -> None:
    """It would tie those of every process to the same cores while they compute, and two workers would share one."""
    session = GeneratorSession(tiny_generator_onnx, provider="openvino", threads=1)
    z, labels = np.zeros((64, 8), dtype=np.float32), np.zeros(64, dtype=np.int64)
    ended = threading.Event()

    def draw_on_and_on() -> None:
        while not ended.is_set():
            session.generate(z, labels)

    thread = threading.Thread(target=draw_on_and_on)
    thread.start()
    try:
        seen = {len(os.sched_getaffinity(thread.native_id or 0)) for _ in range(20_000)}
    finally:
        ended.set()
        thread.join()
    assert seen == {usable_cores()}
