"""What a worker prints, read with TorchServe's own pattern for metric lines."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from handlers.access_log import Answered
from handlers.busy import BusyMark, is_busy
from handlers.metrics import MAX_VALUES, METRICS, Recorder

# TorchServe 0.12, org.pytorch.serve.metrics.Metric: what does not match is dropped.
TORCHSERVE = re.compile(
    r"\s*([\w\s]+)\.([\w\s]+):([0-9\-,.e]+)\|#([^|]*)(\|#type:([^|,]+))?\|#hostname:([^,]+),([^,]+)(,(.*))?"
)
GOOD = Answered(
    request_id="r1", status=200, media_type="image/png", images=3, body_bytes=500, encoding_s=0.25, reason=None
)
BAD = Answered(request_id="r2", status=422, media_type="application/json", body_bytes=90, reason="InvalidClass")


def recorder(mark: BusyMark | None = None, **settings: Any) -> Recorder:
    return Recorder(settings, mark or BusyMark(None), provider="cpu", variant="int8", fallback=False)


def printed(capsys: pytest.CaptureFixture[str]) -> list[tuple[str, float, dict[str, str]]]:
    """(name, value, labels) of each line, after a look whether TorchServe would take it as it is declared."""
    found = []
    for line in capsys.readouterr().out.splitlines():
        assert line.startswith("[METRICS]")
        match = TORCHSERVE.fullmatch(line.removeprefix("[METRICS]"))
        assert match is not None, line
        labels = dict(pair.split(":") for pair in match[4].split(","))
        kind, unit, names = METRICS[match[1]]
        assert (match[2], match[6], tuple(labels)) == (unit, kind.upper(), names)
        found.append((match[1], float(match[3]), labels))
    return found


def test_a_worker_tells_how_it_started(capsys: pytest.CaptureFixture[str]) -> None:
    Recorder({}, BusyMark(None), provider="cpu", variant="float32", fallback=True)
    assert printed(capsys) == [
        ("sngan_worker_starts_total", 1.0, {"provider": "cpu", "variant": "float32", "fallback": "yes"}),
        ("sngan_provider_fallback", 1.0, {"provider": "cpu"}),
    ]


def test_a_batch_is_told_request_by_request(capsys: pytest.CaptureFixture[str]) -> None:
    with recorder().batch() as batch:
        batch.ran(2, 0.5)
        batch.ran(1, 0.25, 1)
        batch.answer(GOOD)
        batch.answer(BAD)
        batch.answer(GOOD)
    lines = printed(capsys)[2:]
    whole = [line for line in lines if line[0] == "sngan_request_seconds"]
    assert len(whole) == 3
    assert all(0 <= value < 5 for _, value, _ in whole)
    variant = {"provider": "cpu", "variant": "int8"}
    assert [line for line in lines if line not in whole] == [
        ("sngan_batch_images", 3.0, {"provider": "cpu"}),
        ("sngan_inference_seconds", 0.75, {"provider": "cpu"}),
        ("sngan_images_total", 3.0, variant),
        ("sngan_padding_images_total", 1.0, {"provider": "cpu"}),
        ("sngan_encoding_seconds", 0.25, {"format": "png"}),
        ("sngan_rejections_total", 1.0, {"reason": "InvalidClass"}),
        ("sngan_encoding_seconds", 0.25, {"format": "png"}),
        ("sngan_requests_total", 2.0, {"status": "200", "format": "png", **variant}),
        ("sngan_requests_total", 1.0, {"status": "422", "format": "json", **variant}),
    ]


def test_the_smallest_and_largest_numbers_are_still_read(capsys: pytest.CaptureFixture[str]) -> None:
    """TorchServe's pattern knows no plus sign: 1e+20 would be dropped."""
    with recorder().batch() as batch:
        batch.ran(10**9, 1e-9)
        batch.ran(1, 1e9)
    assert ("sngan_inference_seconds", 1e9, {"provider": "cpu"}) in printed(capsys)


def test_labels_are_few_whatever_comes(capsys: pytest.CaptureFixture[str]) -> None:
    one = recorder()
    with one.batch() as batch:
        for number in range(1000):
            batch.answer(Answered(request_id="r", status=400, media_type=f"x/{number}", reason=f"Reason{number}"))
    reasons = {labels["reason"] for name, _, labels in printed(capsys) if name == "sngan_rejections_total"}
    assert len(reasons) == MAX_VALUES + 1
    assert "other" in reasons


@pytest.mark.parametrize("hostile", ["a,b", "a|#x:1", "a:b", "a\n[METRICS]x.count:1|#", "ä", ""])
def test_a_label_cannot_break_out_of_its_line(hostile: str, capsys: pytest.CaptureFixture[str]) -> None:
    with recorder().batch() as batch:
        batch.answer(Answered(request_id=hostile, status=400, media_type="x/y", reason=hostile))
    assert len(printed(capsys)) == 2 + 3


def test_a_worker_is_busy_during_a_batch_and_not_after_a_fault(tmp_path: Path) -> None:
    file = tmp_path / "busy"
    file.touch()
    one = recorder(BusyMark(str(file)))
    assert not is_busy(file)
    with one.batch():
        assert is_busy(file)
    with contextlib.suppress(KeyError), one.batch():
        raise KeyError
    assert not is_busy(file)


def test_the_access_log_has_a_line_a_request(tmp_path: Path) -> None:
    log = tmp_path / "access.json"
    one = recorder(access_log=str(log))
    with one.batch() as batch:
        batch.answer(GOOD)
        batch.answer(BAD)
    good, bad = (json.loads(line) for line in log.read_text().splitlines())
    assert (good["request_id"], good["status"], good["images"], good["bytes"]) == ("r1", 200, 3, 500)
    assert (good["encoding_seconds"], good["provider"], good["variant"]) == (0.25, "cpu", "int8")
    assert (bad["request_id"], bad["status"], bad["reason"], bad["encoding_seconds"]) == (
        "r2",
        422,
        "InvalidClass",
        None,
    )
