"""With answers as TorchServe 0.12 gives them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from serve.errors import ManagementError, UnreachableError
from serve.management import Management, ModelState

STATE = {
    "modelVersion": "1.2",
    "workers": [{"id": "9000", "status": "READY"}, {"id": "9001", "status": "UNLOADING"}],
    "jobQueueStatus": {"remainingCapacity": 93, "pendingRequests": 7},
}


def test_the_state_of_a_version(scripted_server: Any) -> None:
    scripted_server.answers["/models/sngan"] = (200, json.dumps([STATE]).encode())
    expected = ModelState(version="1.2", workers=("READY", "UNLOADING"), waiting=7)
    management = Management(url=scripted_server.url)
    assert management.state() == expected
    assert management.state("9.9") is None
    scripted_server.answers["/models/sngan/1.2%2Fx"] = scripted_server.answers["/models/sngan"]
    assert management.state("1.2/x") == expected


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"[1]", json.dumps([STATE, STATE]).encode()])
def test_what_is_not_torchserve_s(scripted_server: Any, body: bytes) -> None:
    scripted_server.answers["/models/sngan"] = (200, body)
    with pytest.raises(UnreachableError, match="not TorchServe's management"):
        Management(url=scripted_server.url).state()


def test_a_token_that_is_wanted_is_said(scripted_server: Any) -> None:
    error = {"code": 400, "type": "InvalidKeyException", "message": "Token Authorization failed."}
    scripted_server.answers["/models/sngan"] = (400, json.dumps(error).encode())
    with pytest.raises(UnreachableError, match=r"HTTP 400: Token Authorization failed\.$"):
        Management(url=scripted_server.url).state()


def test_a_swap_is_asked_for_in_torchserve_s_words(scripted_server: Any) -> None:
    register = "/models?url=sngan-2&model_name=sngan&initial_workers=3&synchronous=true"
    default, version = "/models/sngan/2.0/set-default", "/models/sngan/2.0"
    scripted_server.answers |= dict.fromkeys((register, default, version), (200, b"{}"))
    management = Management(url=scripted_server.url)
    management.register("sngan-2", 3, 5.0)
    management.set_default("2.0")
    management.unregister("2.0")
    asked = [(request[0], request[1]) for request in scripted_server.requests]
    assert asked == [("POST", register), ("PUT", default), ("DELETE", version)]


def test_torchserve_s_refusal_is_one_line(scripted_server: Any) -> None:
    path = "/models?url=x&model_name=sngan&initial_workers=1&synchronous=true"
    error = {"code": 409, "type": "ConflictStatusException", "message": "Model version 1.0 is already registered"}
    scripted_server.answers[path] = (409, json.dumps(error).encode())
    with pytest.raises(ManagementError, match=r"^TorchServe: HTTP 409: Model version 1.0 is already registered$"):
        Management(url=scripted_server.url).register("x", 1, 5.0)
