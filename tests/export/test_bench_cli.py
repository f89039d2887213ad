"""The command on generators of no size: what is printed, written and refused."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from export.bench_cli import infer
from handlers.metadata import GeneratorMetadata


def bench(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sngan_cli", "bench", "infer", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture
def folder(
    tmp_path: Path, make_generator: Callable[[Path, GeneratorMetadata], Path], tiny_metadata: GeneratorMetadata
) -> Path:
    (tmp_path / "export").mkdir()
    for name, changes in (
        ("generator.onnx", {"target": "cpu"}),
        ("generator-int8.onnx", {"target": "cpu", "precision": "int8"}),
        ("generator-portable.onnx", {"target": "portable"}),
    ):
        make_generator(tmp_path / "export" / name, dataclasses.replace(tiny_metadata, **changes))
    return tmp_path / "export"


def test_the_json_goes_to_stdout_and_to_the_file(folder: Path, tmp_path: Path) -> None:
    report = tmp_path / "bench.json"
    done = bench(folder, "--batch", "1,3", "--seconds", "0.02", "--threads", 1, "--json", "-o", report)
    assert done.returncode == 0, done.stderr
    values = json.loads(done.stdout)
    assert json.loads(report.read_text()) == values
    measured = {(one["file"], one["provider"], one["batch"]) for one in values["results"]}
    assert {(name, "cpu", size) for name in ("generator.onnx", "generator-int8.onnx") for size in (1, 3)} <= measured
    assert {("generator-portable.onnx", "naive", 1), ("generator-portable.onnx", "naive", 3)} <= measured
    assert all(one["images_per_second"] > 0 and one["calls"] >= 10 for one in values["results"])
    assert values["machine"]["threads"] == 1
    assert [bar["at_least"] for bar in values["bars"]] == [1.2, 2.4, 6.0]
    assert "s left" in done.stderr


def test_the_table_is_for_people_and_needs_no_torch(folder: Path) -> None:
    code = (
        "import sys; sys.argv = ['sngan', 'bench', 'infer', sys.argv[1], '--batch', '2', '--seconds', '0.02']\n"
        "import sngan_cli.main as m\n"
        "try: m.main()\nexcept SystemExit as end: assert not end.code\n"
        "print([name for name in ('torch', 'onnx') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True)
    *lines, imported = done.stdout.splitlines()
    assert imported == "[]"
    assert next(line for line in lines if line.startswith("file ")).split()[:4] == [
        "file",
        "target",
        "precision",
        "provider",
    ]
    assert sum(line.startswith("generator-int8.onnx") for line in lines) >= 1
    assert any(line.startswith("float32, target cpu, CPU provider: at least 1.2 times naive: ") for line in lines)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--batch", "1,x"), 2, "--batch '1,x': numbers from 1 to 1024, separated by commas"),
        (("--batch", "0"), 2, "--batch '0'"),
        (("--seconds", "0"), 2, "--seconds"),
        (("-o", "absent/folder/bench.json", "--batch", "1", "--seconds", "0.01"), 1, "cannot be written"),
    ],
)
def test_what_cannot_be_is_one_clear_line(folder: Path, arguments: tuple[str, ...], code: int, message: str) -> None:
    done = bench(folder, *arguments)
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_without_the_plain_file_nothing_can_be_measured(folder: Path, tmp_path: Path) -> None:
    (folder / "generator-portable.onnx").unlink()
    done = bench(folder)
    assert done.returncode == 1
    assert "`sngan export RUN -o DIR --target cpu,portable` writes one" in done.stderr
    assert bench(tmp_path / "absent").returncode == 2


@pytest.mark.slow
def test_a_run_is_exported_first_and_leaves_nothing(
    tiny_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A real export; only the other precisions, whose gates draw thousands of images, are asked for and not made."""
    from export import pipeline

    asked: list[tuple[str, ...]] = []
    folders: list[Path] = []
    real = pipeline.export_run

    def without_gates(run: Path, output: Path, *, precisions: tuple[str, ...], **rest: Any) -> pipeline.Exported:
        asked.append(precisions)
        folders.append(output)
        return real(run, output, precisions=("fp32",), **rest)

    monkeypatch.setattr(pipeline, "export_run", without_gates)
    before = sorted(tiny_run.rglob("*"))
    infer(tiny_run, batch="2", seconds=0.02, threads=1, as_json=True, output=None)
    values = json.loads(capsys.readouterr().out)
    assert {one["target"] for one in values["results"]} == {"cpu", "gpu", "portable"}
    assert asked == [("fp32", "fp16", "int8")]
    assert sorted(tiny_run.rglob("*")) == before
    assert not folders[0].parent.exists()
