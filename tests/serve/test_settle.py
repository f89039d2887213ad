"""Waiting for quiet, with a management port and a worker's mark that a test writes."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from handlers.busy import BusyMark
from serve.management import Management
from serve.settle import settle

MODEL = "/models/sngan"


def state(waiting: int) -> tuple[int, bytes]:
    record = {"modelVersion": "1.0", "workers": [], "jobQueueStatus": {"pendingRequests": waiting}}
    return 200, json.dumps([record]).encode()


@pytest.fixture
def busy(tmp_path: Path) -> Path:
    file = tmp_path / "sngan.busy"
    file.touch()
    return file


def test_an_idle_server_is_settled_at_once(scripted_server: Any, busy: Path) -> None:
    scripted_server.answers[MODEL] = state(0)
    started = time.monotonic()
    assert settle(Management(url=scripted_server.url), busy, 5.0)
    assert time.monotonic() - started < 2.0


def test_a_queue_is_waited_for(scripted_server: Any, busy: Path) -> None:
    scripted_server.answers[MODEL] = state(3)
    assert not settle(Management(url=scripted_server.url), busy, 0.5)
    timer = threading.Timer(0.5, scripted_server.answers.update, ({MODEL: state(0)},))
    timer.start()
    assert settle(Management(url=scripted_server.url), busy, 10.0)
    assert not timer.is_alive()
    timer.join()


def test_a_worker_is_waited_for(scripted_server: Any, busy: Path) -> None:
    scripted_server.answers[MODEL] = state(0)
    with BusyMark(str(busy)):
        assert not settle(Management(url=scripted_server.url), busy, 0.5)
    assert settle(Management(url=scripted_server.url), busy, 0.5)


def test_a_version_that_is_gone_has_nothing_to_do(scripted_server: Any, busy: Path) -> None:
    assert settle(Management(url=scripted_server.url), busy, 1.0, "1.0")


def test_where_nothing_answers_nothing_is_claimed(busy: Path) -> None:
    assert not settle(Management(url="http://127.0.0.1:1"), busy, 5.0)


def test_without_the_mark_nothing_is_claimed(scripted_server: Any, tmp_path: Path) -> None:
    scripted_server.answers[MODEL] = state(0)
    assert not settle(Management(url=scripted_server.url), tmp_path / "missing", 5.0)
