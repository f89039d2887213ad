"""Bars and table of results that are told, not measured."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable

import pytest

from export.bench import Result, Spread
from export.bench_bars import judge
from export.bench_contenders import NAIVE, Contender
from export.bench_report import as_text, as_values, machine
from handlers.metadata import GeneratorMetadata

AMX_MACHINE = frozenset({"avx2", "avx512_vnni", "amx_tile", "amx_bf16", "amx_int8"})
VNNI_MACHINE = frozenset({"avx2", "avx512_vnni", "avx512_bf16"})
OLD_MACHINE = frozenset({"avx2"})

MakeResult = Callable[..., Result]


@pytest.fixture
def result(tiny_metadata: GeneratorMetadata) -> MakeResult:
    def make(file: str, form: str, provider: str, ratio: float, batch: int = 16, note: str = "") -> Result:
        target, precision = form.split()
        contender = Contender(
            file=file,
            provider=provider,
            metadata=dataclasses.replace(tiny_metadata, target=target, precision=precision),
            draw=lambda z, labels: None,
            notes=(note,) if note else (),
        )
        return Result(
            contender=contender,
            batch=batch,
            rates=(99.0 * ratio, 100.0 * ratio, 101.0 * ratio),
            calls_s=(0.01, 0.02, 0.03),
            ratio=Spread(lower=ratio - 0.1, median=ratio, upper=ratio + 0.1),
        )

    return make


@pytest.fixture
def results(result: MakeResult) -> list[Result]:
    return [
        result("generator-portable.onnx", "portable float32", NAIVE, 1.0),
        result("generator-portable.onnx", "portable float32", "cpu", 5.0),  # of no bar: not the target's
        result("generator.onnx", "cpu float32", "cpu", 1.3),
        result("generator.onnx", "cpu float32", "cpu", 9.0, batch=1),  # of no bar: not the batch's
        result("generator-int8.onnx", "cpu int8", "cpu", 2.3),
        result("generator.onnx", "cpu float32", "openvino-bf16", 6.5),
        result("generator-gpu.onnx", "gpu float32", "openvino-bf16", 7.0),
    ]


def test_bars_where_the_processor_can(results: list[Result]) -> None:
    verdicts = judge(results, {}, AMX_MACHINE)
    assert [verdict.bar.at_least for verdict in verdicts] == [1.2, 2.4, 6.0]
    assert [verdict.state for verdict in verdicts] == ["reached", "missed", "reached"]
    best = [verdict.best for verdict in verdicts]
    assert [one and one.ratio.median for one in best] == [1.3, 2.3, 7.0]


def test_elsewhere_the_figure_stands_with_what_the_processor_lacks(results: list[Result]) -> None:
    states = {flags: [v.state for v in judge(results, {}, flags)] for flags in (VNNI_MACHINE, OLD_MACHINE, frozenset())}
    assert states[VNNI_MACHINE] == ["reached", "missed", "not judged"]
    assert states[OLD_MACHINE] == ["reached", "not judged", "not judged"]
    assert states[frozenset()] == ["reached", "not judged", "not judged"]
    *_, bfloat16 = judge(results, {}, VNNI_MACHINE)
    assert bfloat16.reason == "this processor lacks AMX"
    assert bfloat16.best is not None
    *_, unknown = judge(results, {}, frozenset())
    assert unknown.reason == "whether this processor has AMX is not told"


def test_what_was_not_measured_says_why(results: list[Result]) -> None:
    left_out = {"everything on openvino-bf16": "no such provider here"}
    first, second, third = judge(results[:2], left_out, VNNI_MACHINE)
    assert {first.state, second.state, third.state} == {"not measured"}
    assert first.reason == "no float32 file for the target cpu"
    assert second.reason == "no int8 file"
    assert third.reason == "this processor lacks AMX; no such provider here"


def test_without_batches_of_16_the_largest_counts(result: MakeResult) -> None:
    few = [result("g", "cpu float32", "cpu", 1.1, batch=1), result("g", "cpu float32", "cpu", 1.5, batch=4)]
    verdict = judge(few, {}, OLD_MACHINE)[0]
    assert verdict.best is not None
    assert (verdict.state, verdict.best.batch) == ("reached", 4)


def test_the_text_says_everything(results: list[Result], result: MakeResult) -> None:
    facts = machine(2) | {"busy": True, "load_average": 1.75}
    results = [*results, result("generator-fp16.onnx", "cpu float16", "cpu", 0.4, note="a float16 file is for GPUs")]
    text = as_text(facts, results, judge(results, {}, VNNI_MACHINE), {"everything on cuda": "no such package"})
    assert "load 1.75 at the start" in text
    assert "The machine was busy" in text
    assert facts["processor"] in text
    assert facts["runtime"] in text
    row = next(line for line in text.splitlines() if line.startswith("generator-int8.onnx"))
    assert row.split() == [
        "generator-int8.onnx",
        "cpu",
        "int8",
        "cpu",
        "16",
        "230",
        "20",
        "29",
        "2.30",
        "(2.20",
        "to",
        "2.40)",
    ]
    assert "generator-fp16.onnx on cpu: a float16 file is for GPUs" in text
    assert "not measured: everything on cuda: no such package" in text
    assert (
        "bfloat16, OpenVINO: at least 6 times naive with AMX: not judged at 7.00 in batches of 16 "
        "(this processor lacks AMX)" in text
    )
    assert "int8, CPU provider: at least 2.4 times naive with VNNI or AMX: missed at 2.30 in batches of 16" in text
    idle = as_text(facts | {"busy": False}, results, [], {})
    assert "busy" not in idle


def test_values_are_plain_and_whole(results: list[Result]) -> None:
    facts = machine(2)
    values = json.loads(json.dumps(as_values(facts, results, judge(results, {}, AMX_MACHINE), {"x": "y"})))
    assert values["schema"] == "sngan-bench-infer/1"
    assert len(values["results"]) == len(results)
    int8 = values["results"][4]
    assert int8["latency_ms"] == {"median": 20.0, "p95": pytest.approx(29.0)}
    assert int8["ratio_to_naive"]["median"] == 2.3
    assert int8["rates"] == pytest.approx([227.7, 230.0, 232.3])
    assert values["bars"][1] | {"ratio": 2.3, "state": "missed", "batch": 16} == values["bars"][1]
    assert values["left_out"] == {"x": "y"}
    assert values["machine"]["runtime"]
