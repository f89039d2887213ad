from __future__ import annotations

import json
from typing import Any

import pytest

from serve.errors import UnreachableError
from serve.health import healthcheck, worker_statuses

MODEL, PREDICTIONS = "/models/sngan", "/predictions/sngan"


def workers(*statuses: str) -> tuple[int, bytes]:
    return 200, json.dumps([{"workers": [{"id": "9000", "status": status} for status in statuses]}]).encode()


@pytest.mark.parametrize(
    ("statuses", "ready"),
    [(("READY",), True), (("UNLOADING", "READY"), True), (("UNLOADING",), False), ((), False)],
)
def test_ready_means_a_ready_worker(scripted_server: Any, statuses: tuple[str, ...], ready: bool) -> None:
    scripted_server.answers[MODEL] = workers(*statuses)
    health = healthcheck("http://127.0.0.1:1", scripted_server.url)
    assert (health.ready, health.workers) == (ready, statuses)


def test_a_model_that_is_not_registered_is_not_ready(scripted_server: Any) -> None:
    assert healthcheck(scripted_server.url, scripted_server.url).reason == "no worker is READY (workers: none)"


def test_deep_draws_an_image(scripted_server: Any) -> None:
    scripted_server.answers[MODEL] = workers("READY")
    scripted_server.answers[PREDICTIONS] = (200, b"\x89PNG\r\n\x1a\n...")
    assert healthcheck(scripted_server.url, scripted_server.url, deep=True).ready
    assert [request[1] for request in scripted_server.requests] == [MODEL, PREDICTIONS]


@pytest.mark.parametrize("answer", [(503, b"{}"), (200, b"<html>")])
def test_deep_wants_an_image(scripted_server: Any, answer: tuple[int, bytes]) -> None:
    scripted_server.answers[MODEL] = workers("READY")
    scripted_server.answers[PREDICTIONS] = answer
    assert healthcheck(scripted_server.url, scripted_server.url).ready
    health = healthcheck(scripted_server.url, scripted_server.url, deep=True)
    assert (health.ready, health.workers) == (False, ("READY",))


def test_silence_and_strangers_are_not_ready(scripted_server: Any, silent_url: str) -> None:
    assert not healthcheck(silent_url, silent_url, timeout_s=0.2).ready
    assert not healthcheck("http://127.0.0.1:1", "http://127.0.0.1:1").ready
    scripted_server.answers[MODEL] = (200, b"<html>")
    assert "not TorchServe's answer" in healthcheck(scripted_server.url, scripted_server.url).reason
    scripted_server.answers[MODEL] = (200, b"{}")
    assert worker_statuses(scripted_server.url, 1.0) == ()
    scripted_server.answers[MODEL] = (200, b"[{}]")
    with pytest.raises(UnreachableError):
        worker_statuses(scripted_server.url, 1.0)
