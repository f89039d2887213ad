from __future__ import annotations

import datetime
import json
import os
from pathlib import Path

import pytest

from handlers.access_log import AccessLog, Answered

ONE = Answered(request_id="r1", status=200, media_type="image/png", images=1, body_bytes=9, encoding_s=0.5)
HOSTILE = Answered(request_id='x"}\n{"status": 200', status=400, media_type="application/json", reason="NotJson")


def write(log: AccessLog, *answered: Answered) -> None:
    log.write(answered, provider="cpu", variant="float32", seconds=0.125)


def test_a_line_is_an_object_whatever_the_client_put_into_the_request_id(tmp_path: Path) -> None:
    file = tmp_path / "log"
    write(AccessLog(str(file)), ONE, HOSTILE)
    first, second = (json.loads(line) for line in file.read_text().splitlines())
    time = datetime.datetime.fromisoformat(first.pop("time"))
    assert abs(datetime.datetime.now(datetime.UTC) - time) < datetime.timedelta(minutes=1)
    assert first == {
        "request_id": "r1",
        "status": 200,
        "reason": None,
        "media_type": "image/png",
        "images": 1,
        "bytes": 9,
        "seconds": 0.125,
        "encoding_seconds": 0.5,
        "provider": "cpu",
        "variant": "float32",
        "worker": os.getpid(),
    }
    assert (second["request_id"], second["reason"]) == (HOSTILE.request_id, "NotJson")


def test_a_rotated_log_is_begun_anew(tmp_path: Path) -> None:
    file = tmp_path / "log"
    log = AccessLog(str(file))
    write(log, ONE)
    file.rename(tmp_path / "log.1")
    write(log, ONE, ONE)
    assert len(file.read_text().splitlines()) == 2
    assert file.stat().st_mode & 0o007 == 0, "no stranger reads it"


def test_a_log_that_cannot_be_written_is_said_once_and_stops_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = AccessLog(str(tmp_path / "missing" / "log"))
    write(log, ONE)
    write(log, ONE)
    assert capsys.readouterr().err.count("the access log cannot be written") == 1
    write(AccessLog(None), ONE)
    write(AccessLog(str(tmp_path / "log")))
    assert list(tmp_path.iterdir()) == []
