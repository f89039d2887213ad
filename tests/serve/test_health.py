from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from serve.config import ServeConfig
from serve.health import healthcheck
from serve.private_folder import private_folder
from serve.record import ServerRecord

MODEL, PREDICTIONS = "/models/sngan", "/predictions/sngan"


def workers(*statuses: str) -> tuple[int, bytes]:
    listed = [{"id": "9000", "status": status} for status in statuses]
    return 200, json.dumps([{"modelVersion": "1.0", "workers": listed}]).encode()


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
    assert "not TorchServe's management" in healthcheck(scripted_server.url, scripted_server.url).reason
    for strange in (b"{}", b"[{}]", b"[]"):
        scripted_server.answers[MODEL] = (200, strange)
        assert "not TorchServe's management" in healthcheck(scripted_server.url, scripted_server.url).reason


def test_a_server_that_is_stopping_is_not_ready(scripted_server: Any, temp: Path) -> None:
    """Its workers are READY until the end; the launcher knows better."""
    scripted_server.answers[MODEL] = workers("READY")
    port = int(scripted_server.url.rpartition(":")[2])
    with private_folder() as folder:
        config = ServeConfig(management_port=port)
        record = ServerRecord(folder=folder, config=config, source="x.mar", model="sngan", version="1.0")
        record.write()
        assert healthcheck(scripted_server.url, scripted_server.url).ready
        dataclasses.replace(record, stopping=True).write()
        health = healthcheck(scripted_server.url, scripted_server.url)
    assert (health.ready, health.reason) == (False, "the server is stopping")
