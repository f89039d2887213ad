from __future__ import annotations

from pathlib import Path

import pytest

from handlers import processor

INTEL = (
    "processor\t: 0\nmodel name\t: Some Xeon: the 4th\nflags\t\t: fpu avx2 amx_bf16\n\nprocessor\t: 1\nflags\t\t: fpu\n"
)
ARM = "processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd asimddp i8mm\n"


@pytest.mark.parametrize(
    ("text", "flags", "name"),
    [(INTEL, {"fpu", "avx2", "amx_bf16"}, "Some Xeon: the 4th"), (ARM, {"fp", "asimd", "asimddp", "i8mm"}, None)],
)
def test_what_linux_tells(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, flags: set[str], name: str | None
) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "cpuinfo")
    assert processor.processor_flags() == flags
    assert name is None or processor.processor_name() == name


def test_elsewhere_nothing_is_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "absent")
    assert processor.processor_flags() == frozenset()
    assert processor.processor_name() != ""
    assert processor.usable_cores() >= 1
