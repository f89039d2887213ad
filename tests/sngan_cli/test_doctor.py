"""Findings that this machine does not have by itself."""

import builtins
from collections.abc import Callable

import onnxruntime
import pytest

from sngan_cli import doctor
from sngan_cli.doctor import Verdict


@pytest.mark.parametrize("other", ["onnxruntime-gpu", "onnxruntime-openvino"])
def test_two_onnx_runtime_packages_are_a_conflict_with_the_fix(monkeypatch: pytest.MonkeyPatch, other: str) -> None:
    monkeypatch.setattr(doctor, "_version", lambda name: "1.30" if name in ("onnxruntime", other) else None)
    (finding,) = doctor._onnx_runtime()
    assert finding.verdict is Verdict.BAD
    assert f"pip uninstall -y onnxruntime {other}" in finding.remedy


def test_a_provider_that_is_listed_but_does_not_load_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA's name is known to every build, and a CPU build cannot load it."""
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    findings = {finding.text.split()[0]: finding for finding in doctor._onnx_runtime()}
    assert findings["CUDA"].verdict is Verdict.NOTE
    assert "does not load" in findings["CUDA"].text
    assert findings["CPU"].verdict is Verdict.GOOD


def test_missing_and_outdated_packages_name_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_version", {"torch": "2.1.0", "torchserve": None}.get)
    findings = {finding.subject: finding for finding in doctor._packages()}
    assert findings["train"].verdict is Verdict.BAD
    assert "torch 2.1.0 (wanted >=2.9)" in findings["train"].text
    assert findings["serve"].verdict is Verdict.NOTE
    assert findings["serve"].remedy == "to serve: pip install 'sngan[serve]'"


def test_a_check_that_is_bad_fails_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    bad = doctor.Finding(subject="x", verdict=Verdict.BAD, text="broken", remedy="mend it")
    monkeypatch.setattr(doctor, "examine", lambda: iter([bad]))
    printed: list[str] = []
    monkeypatch.setattr(builtins, "print", _collect(printed))
    with pytest.raises(doctor.CommandError, match="1 of the findings"):
        doctor.doctor()
    assert "mend it" in "\n".join(printed)


def _collect(lines: list[str]) -> Callable[..., None]:
    return lambda *values, **options: lines.append(" ".join(map(str, values)))
