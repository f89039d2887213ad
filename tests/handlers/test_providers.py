"""Names, order, options and notes; what needs another package or processor is told to be there."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from handlers import providers
from handlers.errors import ProviderError
from handlers.metadata import GeneratorMetadata
from handlers.providers import AUTO_ORDER, EXTRAS, PROVIDERS, check_name, notes_on, reason_against, with_options

ALL = tuple(PROVIDERS.values())


def processor_with(monkeypatch: pytest.MonkeyPatch, *flags: str) -> None:
    monkeypatch.setattr(providers, "processor_flags", lambda: frozenset(flags))


def test_auto_takes_neither_minutes_nor_other_pixels() -> None:
    assert AUTO_ORDER == ("cuda", "openvino", "cpu")
    assert set(EXTRAS) == set(PROVIDERS)


def test_names_are_checked() -> None:
    check_name("auto")
    check_name("openvino-bf16")
    with pytest.raises(ProviderError, match="unknown provider 'gpu'; one of auto, cuda, tensorrt, openvino, "):
        check_name("gpu")


def test_a_package_without_the_provider_names_the_extra_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    processor_with(monkeypatch, "amx_bf16")
    for name, extra in (("cuda", "gpu"), ("tensorrt", "gpu"), ("openvino-bf16", "openvino")):
        assert f"sngan[{extra}]" in str(reason_against(name, ["CPUExecutionProvider"]))
        assert reason_against(name, ALL) is None
    assert reason_against("cpu", ["CPUExecutionProvider"]) is None


def test_bfloat16_needs_the_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    processor_with(monkeypatch, "avx2", "avx512f")
    assert "does not multiply in bfloat16" in str(reason_against("openvino-bf16", ALL))
    assert reason_against("openvino", ALL) is None
    processor_with(monkeypatch, "avx512_bf16")
    assert reason_against("openvino-bf16", ALL) is None
    processor_with(monkeypatch)  # the system tells nothing: let OpenVINO judge
    assert reason_against("openvino-bf16", ALL) is None


@pytest.mark.parametrize(("name", "hint"), [("openvino", "f32"), ("openvino-bf16", "bf16")])
def test_openvino_is_always_told_its_precision(tiny_metadata: GeneratorMetadata, name: str, hint: str) -> None:
    (first, options), (last, none) = with_options(name, 3, tiny_metadata, ALL)
    assert (first, last, none) == ("OpenVINOExecutionProvider", "CPUExecutionProvider", {})
    assert (options["device_type"], options["num_of_threads"]) == ("CPU", "3")
    # The text itself, not a path to it.
    assert json.loads(options["load_config"])["CPU"]["INFERENCE_PRECISION_HINT"] == hint


def test_tensorrt_knows_the_shapes_and_hands_on_to_cuda(
    tiny_metadata: GeneratorMetadata, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    half = dataclasses.replace(tiny_metadata, precision="float16")
    chosen = dict(with_options("tensorrt", 1, half, ALL))
    assert list(chosen) == ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    options = chosen["TensorrtExecutionProvider"]
    assert options["trt_profile_min_shapes"] == "z:1x8,label:1"
    assert options["trt_profile_max_shapes"] == "z:64x8,label:64"
    assert (options["trt_fp16_enable"], options["trt_int8_enable"]) == ("1", "0")
    assert options["trt_engine_cache_path"].startswith(str(tmp_path))
    assert chosen["CUDAExecutionProvider"]["use_tf32"] == "0"
    assert chosen["CUDAExecutionProvider"]["enable_cuda_graph"] == "0"
    recording = dict(with_options("cuda", 1, half, ALL, cuda_graphs=True))
    assert recording["CUDAExecutionProvider"]["enable_cuda_graph"] == "1"
    unconditional = dataclasses.replace(tiny_metadata, class_names=())
    (_, options), *_ = with_options("tensorrt", 1, unconditional, ALL)
    assert options["trt_profile_opt_shapes"] == "z:16x8"


def test_providers_that_the_package_lacks_are_not_passed_on(tiny_metadata: GeneratorMetadata) -> None:
    assert with_options("cpu", 1, tiny_metadata, ["CPUExecutionProvider"]) == [("CPUExecutionProvider", {})]
    available = ["TensorrtExecutionProvider", "CPUExecutionProvider"]
    assert [name for name, _ in with_options("tensorrt", 1, tiny_metadata, available)] == available


@pytest.mark.parametrize(
    ("provider", "precision", "flags", "words"),
    [
        ("cpu", "float32", ("avx2",), None),
        ("cpu", "float16", ("avx2", "avx512_vnni"), "float16 file is for GPUs"),
        ("cuda", "float16", ("avx2",), None),
        ("cuda", "int8", ("avx2",), "take float16"),
        ("cpu", "int8", ("avx2",), "no VNNI"),
        ("cpu", "int8", ("avx2", "avx_vnni"), None),
        ("cpu", "int8", ("asimddp",), None),
        ("cpu", "int8", (), None),
    ],
)
def test_notes(
    monkeypatch: pytest.MonkeyPatch,
    tiny_metadata: GeneratorMetadata,
    provider: str,
    precision: str,
    flags: tuple[str, ...],
    words: str | None,
) -> None:
    processor_with(monkeypatch, *flags)
    notes = notes_on(provider, dataclasses.replace(tiny_metadata, precision=precision))
    assert len(notes) == (words is not None)
    assert words is None or words in notes[0]
