"""Advice for processors and packages that this machine need not have."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sngan_cli import doctor, doctor_serving
from sngan_cli.doctor import Verdict
from sngan_cli.doctor_serving import faster_serving

INTEL_AMX = frozenset({"avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_bf16", "amx_int8"})
AMD_VNNI = frozenset({"avx2", "avx512f", "avx512_vnni", "avx512_bf16"})
PLAIN = frozenset({"sse4_2", "avx2"})
PAGE = Path(doctor.__file__).parent.parent / "docs" / "bench-infer.md"


def lines(flags: frozenset[str], gpu: str = "", installed: tuple[str, ...] = ("cpu",)) -> list[tuple[str, str]]:
    findings = list(faster_serving(flags, gpu, installed))
    assert {finding.verdict for finding in findings} == {Verdict.NOTE}
    return [(finding.text, finding.remedy) for finding in findings]


def test_amx_is_for_openvino_and_the_package_is_exchanged_first() -> None:
    (bfloat16, remedy), (int8, no_package) = lines(INTEL_AMX)
    assert f"draws {doctor_serving.AMX_BFLOAT16} times as fast" in bfloat16
    assert remedy == (
        "pip uninstall -y onnxruntime, then pip install 'sngan[openvino]', then serve with --provider openvino-bf16"
    )
    assert doctor_serving.AMX_INT8 in int8
    assert doctor_serving.OPENVINO_INT8 not in int8  # measured without AMX only
    assert "pip" not in no_package
    (_, with_it), _ = lines(INTEL_AMX, installed=("openvino",))
    assert with_it == "serve with --provider openvino-bf16"
    (_, without_any), _ = lines(INTEL_AMX, installed=())
    assert without_any.startswith("pip install 'sngan[openvino]', then")


def test_without_amx_the_figure_is_another() -> None:
    (bfloat16, _), (int8, remedy) = lines(AMD_VNNI)
    assert "no AMX" in bfloat16
    assert f"draws {doctor_serving.AVX512_BFLOAT16} times as fast" in bfloat16
    assert int8.startswith("VNNI: an int8 file")
    assert f"{doctor_serving.INT8} times as fast, with the extra openvino {doctor_serving.OPENVINO_INT8} times" in int8
    assert remedy == (
        "pip uninstall -y onnxruntime, then pip install 'sngan[openvino]', "
        "then sngan export RUN -o DIR --precision fp32,int8 writes one if it is exact enough"
    )


def test_what_is_lacking_is_told() -> None:
    ((text, _),) = lines(PLAIN)
    assert text.startswith("no AMX, no AVX-512 bfloat16, no VNNI: ")
    assert doctor_serving.CPU_TARGET in text
    ((text, _),) = lines(frozenset())
    assert "does not tell" in text
    ((text, _),) = lines(frozenset({"asimd", "asimddp", "i8mm", "bf16"}))
    assert "not been measured on Arm" in text


def test_a_gpu_is_for_its_package_and_no_figure_is_made_up() -> None:
    ((text, remedy),) = lines(AMD_VNNI, gpu="NVIDIA L4")
    assert "NVIDIA L4" in text
    assert "has not been measured yet" in text
    assert remedy.startswith("pip uninstall -y onnxruntime, then pip install 'sngan[gpu]', then")


@pytest.mark.parametrize("name", ["AMX_BFLOAT16", "AMX_INT8", "AVX512_BFLOAT16", "INT8", "OPENVINO_INT8", "CPU_TARGET"])
def test_every_figure_stands_on_the_page_that_is_named_as_its_source(name: str) -> None:
    figure = getattr(doctor_serving, name)
    assert re.search(rf"(?<![\d.]){re.escape(figure)}(?![\d.]*\d) times", PAGE.read_text(encoding="utf-8"))


def test_the_report_holds_the_advice() -> None:
    assert [finding.subject for finding in doctor.examine()].count("serving") >= 1
