from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from handlers import session, variants
from handlers.errors import GeneratorFileError, ProviderError
from handlers.metadata import GeneratorMetadata
from handlers.variants import choose, open_session

FILES = {"float32": "generator.onnx", "float16": "generator-fp16.onnx", "int8": "generator-int8.onnx"}


@pytest.fixture
def folder(
    tmp_path: Path, make_generator: Callable[[Path, GeneratorMetadata], Path], tiny_metadata: GeneratorMetadata
) -> Path:
    """Three files that say of themselves what they are; all compute in float32."""
    for precision, name in FILES.items():
        make_generator(tmp_path / name, dataclasses.replace(tiny_metadata, precision=precision))
    return tmp_path


@pytest.mark.parametrize(
    ("provider", "flags", "precision"),
    [
        ("cpu", {"avx2", "avx512_vnni"}, "int8"),
        ("cpu", {"avx_vnni"}, "int8"),
        ("cpu", {"i8mm"}, "int8"),
        ("cpu", {"avx2", "avx512f"}, "float32"),
        ("cpu", set(), "float32"),
        ("cuda", {"avx512_vnni"}, "float16"),
        ("tensorrt", set(), "float16"),
        ("openvino", {"avx512_vnni"}, "float32"),
        ("openvino-bf16", {"avx512_vnni"}, "float32"),
    ],
)
def test_auto_fits_the_provider_and_the_processor(
    folder: Path, monkeypatch: pytest.MonkeyPatch, provider: str, flags: set[str], precision: str
) -> None:
    monkeypatch.setattr(variants, "processor_flags", lambda: frozenset(flags))
    assert choose(folder, "generator.onnx", provider, "auto") == FILES[precision]
    (folder / FILES["int8"]).unlink()
    (folder / FILES["float16"]).unlink()
    assert choose(folder, "generator.onnx", provider, "auto") == "generator.onnx"


@pytest.mark.parametrize("wish", FILES)
@pytest.mark.parametrize("provider", ["cpu", "cuda"])
def test_a_wish_beats_the_provider(folder: Path, provider: str, wish: str) -> None:
    assert choose(folder, "generator.onnx", provider, wish) == FILES[wish]


def test_a_wish_that_is_not_there_is_refused_with_what_is(folder: Path) -> None:
    (folder / FILES["int8"]).unlink()
    with pytest.raises(GeneratorFileError, match="no variant int8 in this archive, which has float32, float16"):
        choose(folder, "generator.onnx", "cpu", "int8")
    with pytest.raises(GeneratorFileError, match="variant 'fp16' is unknown; one of auto, float32, float16, int8"):
        choose(folder, "generator.onnx", "cpu", "fp16")


def test_a_single_file_is_what_it_is(folder: Path) -> None:
    alone = folder / "alone"
    alone.mkdir()
    (folder / FILES["int8"]).rename(alone / "generator.onnx")
    for wish in ("auto", "int8"):
        opened = open_session(alone, "generator.onnx", provider="cpu", threads=1, variant=wish)
        assert opened.metadata.precision == "int8"
    with pytest.raises(GeneratorFileError, match="the file to serve is int8, and variant float32 was asked for"):
        open_session(alone, "generator.onnx", provider="cpu", threads=1, variant="float32")


def test_the_session_runs_the_chosen_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    # Whichever of the packages is installed.
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    for flags, precision in (({"avx512_vnni"}, "int8"), ({"avx2"}, "float32")):
        monkeypatch.setattr(variants, "processor_flags", lambda flags=flags: frozenset(flags))
        opened = open_session(folder, "generator.onnx", provider="auto", threads=1)
        assert (opened.provider, opened.metadata.precision, opened.fallback) == ("cpu", precision, None)
    with pytest.raises(ProviderError, match="unknown provider"):
        open_session(folder, "generator.onnx", provider="gpu", threads=1)


def test_after_a_fallback_the_file_fits_the_provider_that_runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package with CUDA on a machine without a GPU: float16 would be opened for CUDA and run on the CPU."""
    import onnxruntime

    monkeypatch.setattr(variants, "processor_flags", lambda: frozenset())
    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)
    monkeypatch.setattr(session, "_open_accelerated", lambda *arguments: (None, "the cuda provider did not load"))
    opened = open_session(folder, "generator.onnx", provider="auto", threads=1)
    assert (opened.provider, opened.metadata.precision) == ("cpu", "float32")
    assert opened.fallback == "the cuda provider did not load"
