"""Rounds, ratios, bars and tables from made-up bursts; no server."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from serve.bench import measure as measuring
from serve.bench.bars import judge
from serve.bench.burst import MAX_REQUESTS, Burst, Load, percentiles
from serve.bench.contenders import Contender, Field
from serve.bench.measure import Point, measure
from serve.bench.memory import Memory
from serve.bench.raw import RawBurst
from serve.bench.report import Report
from serve.errors import ServeError
from serve.exchange import Answer

SMALL, LARGE = 1_000_000, 17_000_000
WARM_UP_S = 0.125


class FakeRaw:
    """100 images a second and process, in calls of 10 ms an image."""

    def __init__(self) -> None:
        self.busy: list[int] = []

    def burst(self, images: int, busy: int, seconds: float) -> RawBurst:
        self.busy.append(busy)
        return RawBurst(images_per_second=100.0 * busy, median_ms=10.0 * images)


class FakeClient:
    """Bursts of a server that adds 3 ms to a lone request and does `share` of what the baseline does."""

    name = "fake"

    def __init__(self, share: float = 0.95) -> None:
        self.share = share
        self.loads: list[Load] = []
        self.warmed: list[tuple[str, int]] = []

    def __call__(self, load: Load) -> Burst:
        if load.seconds == WARM_UP_S:
            self.warmed.append((load.url, load.images))
        else:
            self.loads.append(load)
        busy = min(load.concurrency, 2)
        images = round(100 * busy * self.share * load.seconds)
        return Burst(
            requests=images // max(1, load.images),
            images=images,
            seconds=load.seconds,
            latency_ms={50: 10.0 * load.images + 3, 95: 20.0, 99: 30.0},
            errors={"HTTP 503": 1} if load.concurrency == 32 else {},
            client_cpu_s=0.01,
        )


def contender(name: str = "sngan, cpu, throughput", **changes: Any) -> Contender:
    settings: dict[str, Any] = {
        "name": name,
        "url": f"http://127.0.0.1:1/{name[:5]}",
        "pid": 2**22 + 1,
        "provider": "cpu",
        "variant": "float32",
        "mode": "throughput",
        "workers": 2,
        "threads": 1,
        "batch_size": 1,
        "raw": FakeRaw(),
        "generator": Path("generator.onnx"),
        "first_answer_s": 1.5,
    }
    return Contender(**{**settings, **changes})


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = Answer(status=200, headers={}, body=b"")
    monkeypatch.setattr(measuring, "exchange", lambda *arguments, **settings: answer)
    monkeypatch.setattr(measuring, "wait_until_idle", lambda pid, limit_s: True)


def field_of(*contenders: Contender, size: int = LARGE) -> Field:
    return Field(contenders=list(contenders), classes=10, float32_bytes=size, left_out={"LitServe": "not installed"})


def run(field: Field, client: FakeClient, points: list[Point], rounds: int = 2) -> Any:
    return measure(field, points, client, warm_up_s=WARM_UP_S, seconds=1.0, rounds=rounds, say=lambda text: None)


def test_the_ratio_is_to_as_many_processes_as_the_requests_keep_busy() -> None:
    one = contender()
    results, _ = run(field_of(one), FakeClient(), [Point(images=1, concurrency=1), Point(images=1, concurrency=8)])
    assert [ratio for result in results for ratio in result.ratios] == pytest.approx([0.95] * 4, rel=0.02)
    assert one.raw.busy == [1, 1, 2, 2] * 2  # type: ignore[attr-defined]
    assert results[0].added_ms() == pytest.approx(3)


def test_everybody_begins_a_round_in_turn_and_no_seed_comes_twice() -> None:
    client = FakeClient()
    field = field_of(contender("first"), contender("other"))
    run(field, client, [Point(images=1, concurrency=1)])
    assert [load.url[-5:] for load in client.loads] == ["first", "other", "other", "first"]
    ends = sorted((load.first_seed, load.first_seed + MAX_REQUESTS) for load in client.loads)
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(ends))


def test_java_is_warmed_by_refusals_and_the_others_by_images() -> None:
    client = FakeClient()
    run(field_of(contender("first"), contender("other", mode=None)), client, [Point(images=1, concurrency=1)])
    assert client.warmed == [("http://127.0.0.1:1/first", 0), ("http://127.0.0.1:1/other", 1)]


def test_slow_requests_get_longer_bursts_up_to_a_limit() -> None:
    client = FakeClient()
    loads = [Point(images=1, concurrency=1), Point(images=16, concurrency=32), Point(images=64, concurrency=256)]
    run(field_of(contender()), client, loads, rounds=1)
    # 512 images at 200 a second are 2.56 s a wave.
    assert [load.seconds for load in client.loads] == [1.0, pytest.approx(2.5 * 2.56), measuring.MAX_BURST_S / 2]


def test_a_server_that_fails_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = Answer(status=503, headers={}, body=b"")
    monkeypatch.setattr(measuring, "exchange", lambda *arguments, **settings: answer)
    monkeypatch.setattr(measuring, "wait_until_idle", lambda pid, limit_s: True)
    with pytest.raises(ServeError, match="HTTP 503 after a burst"):
        run(field_of(contender()), FakeClient(), [Point(images=1, concurrency=1)])


def states(field: Field, share: float, memory: Memory) -> dict[str, str]:
    points = [Point(images=1, concurrency=1), Point(images=1, concurrency=32)]
    results, _ = run(field, FakeClient(share), points)
    verdicts = judge(field, results, {one.name: memory for one in field.contenders})
    return {verdict.title.partition(":")[0]: verdict.state for verdict in verdicts}


LEAN = Memory(root_mib=300, largest_child_mib=140, whole_mib=580)


def test_bars() -> None:
    both = (contender(), contender("sngan, cpu, latency", mode="latency", workers=1, threads=2))
    found = states(field_of(*both), 0.95, LEAN)
    assert list(found.values()) == ["reached", "not measured", "not measured", "reached", "reached", "reached"]
    found = states(field_of(*both), 0.85, dataclasses.replace(LEAN, largest_child_mib=240))
    assert list(found.values()) == ["missed", "not measured", "not measured", "reached", "reached", "missed"]
    found = states(field_of(*both, size=SMALL), 0.85, LEAN)
    assert found["cpu, 1 image(s) a request, 32 at once"] == "not judged"
    slow = dataclasses.replace(both[0], first_answer_s=3.5)
    assert states(field_of(slow), 0.95, LEAN)["the slowest server's first 200"] == "missed"


def test_the_report_is_json_and_text_of_the_same_figures() -> None:
    field = field_of(contender(), contender("LitServe 1", provider=None, variant=None, mode=None, batch_size=None))
    results, memory = run(field, FakeClient(), [Point(images=1, concurrency=32)])
    verdicts = judge(field, results, memory)
    report = Report(machine={}, client="fake", field=field, results=results, memory=memory, verdicts=verdicts)
    values = json.loads(json.dumps(report.as_values(), allow_nan=False))
    [first, _] = values["results"]
    assert first["ratio_to_raw"]["median"] == pytest.approx(0.95, rel=0.02)
    assert first["errors"] == {"HTTP 503": 2}
    assert len(first["rounds"]) == 2
    text = report.as_text()
    assert "0.95 (0.95 to 0.95)" in text
    assert "2 HTTP 503" in text
    assert "not measured: LitServe: not installed" in text


def test_percentiles_of_nothing_are_no_numbers() -> None:
    assert [value != value for value in percentiles([]).values()] == [True] * 3
    assert percentiles([0.001, 0.002, 0.003])[50] == pytest.approx(2.0)
