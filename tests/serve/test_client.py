from __future__ import annotations

import json
from typing import Any

import pytest

from serve.client import RequestRefusedError, SnganClient
from serve.errors import ServeError, UnreachableError

PATH = "/predictions/sngan"


def sent(script: Any) -> dict[str, Any]:
    return json.loads(script.requests[-1][3])  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("arguments", "payload"),
    [
        ({}, {}),
        ({"class_": 3, "n": 2, "seed": 0}, {"class": 3, "n": 2, "seed": 0}),
        ({"class_": "cat"}, {"class": "cat"}),
        ({"class_": (0, "cat")}, {"class": [0, "cat"]}),
        ({"truncation": None}, {"truncation": None}),  # no bound, which is not the model's default
        ({"truncation": 0.5}, {"truncation": 0.5}),
    ],
)
def test_images_sends_what_was_given_and_nothing_else(
    scripted_server: Any, arguments: dict[str, Any], payload: dict[str, Any]
) -> None:
    scripted_server.answers[PATH] = (200, b"png")
    assert SnganClient(scripted_server.url + "/").images(**arguments) == b"png"
    method, path, headers, _ = scripted_server.requests[-1]
    assert (method, path, headers["content-type"]) == ("POST", PATH, "application/json")
    assert sent(scripted_server) == {"format": "png", **payload}


def test_request_gives_headers_and_body(scripted_server: Any) -> None:
    scripted_server.answers[PATH] = (200, b"{}")
    answer = SnganClient(scripted_server.url).request({"n": 1}, accept="application/json")
    assert (answer.status, answer.headers["x-sngan-seed"], answer.body) == (200, "7", b"{}")
    assert scripted_server.requests[-1][2]["accept"] == "application/json"


def test_an_error_carries_what_the_server_said(scripted_server: Any) -> None:
    details = [{"field": "n", "reason": "too many", "allowed": "1 ... 64"}]
    record = {"code": 422, "type": "InvalidField", "message": "no", "details": details, "request_id": "r"}
    scripted_server.answers[PATH] = (422, json.dumps(record).encode())
    with pytest.raises(RequestRefusedError, match="HTTP 422: no") as caught:
        SnganClient(scripted_server.url).images(n=99)
    error = caught.value
    assert isinstance(error, ServeError)
    assert (error.status, error.type, error.details, error.request_id) == (422, "InvalidField", details, "r")


@pytest.mark.parametrize(("status", "exit_code"), [(400, 2), (422, 2), (413, 1), (500, 1), (503, 1)])
def test_only_a_wrong_request_is_a_wrong_usage(scripted_server: Any, status: int, exit_code: int) -> None:
    scripted_server.answers[PATH] = (status, b"{}")
    with pytest.raises(RequestRefusedError) as caught:
        SnganClient(scripted_server.url).images()
    assert caught.value.exit_code == exit_code


@pytest.mark.parametrize("body", [b"", b"[]", b"<html>", b'{"details": 5}'])
def test_an_error_without_our_json(scripted_server: Any, body: bytes) -> None:
    scripted_server.answers[PATH] = (413, body)
    with pytest.raises(RequestRefusedError, match="HTTP 413: no reason was given") as caught:
        SnganClient(scripted_server.url).images()
    assert caught.value.details == []


def test_nobody_there() -> None:
    with pytest.raises(UnreachableError, match="is the server running"):
        SnganClient("http://127.0.0.1:1").images()


def test_no_answer_in_time(silent_url: str) -> None:
    with pytest.raises(UnreachableError, match=r"no answer within 0\.2 s"):
        SnganClient(silent_url, timeout_s=0.2).images()


@pytest.mark.parametrize("url", ["", "127.0.0.1:8080", "ftp://x", "http://", "file:///etc/passwd"])
def test_what_is_no_http_address(url: str) -> None:
    with pytest.raises(UnreachableError, match="is not an http:// or https:// address"):
        SnganClient(url).images()
