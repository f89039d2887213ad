from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from serve.client import (
    LONGEST_PAUSE_S,
    AsyncSnganClient,
    BusyError,
    InvalidRequestError,
    NotAcceptableError,
    RequestRefusedError,
    ServerFailedError,
    SnganClient,
    TooLargeError,
    pause_s,
)
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
        ({"z": ((0.5, 1.0),)}, {"z": [[0.5, 1.0]]}),
        (
            {"format": "zip", "image_format": "jpeg", "quality": 80, "scale": 2, "seed": 1},
            {"format": "zip", "image_format": "jpeg", "quality": 80, "scale": 2, "seed": 1},
        ),
        (
            {"n": 4, "layout": "grid", "columns": 1, "padding": 0},
            {"n": 4, "layout": "grid", "columns": 1, "padding": 0},
        ),
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


@pytest.mark.parametrize(("status", "exit_code"), [(400, 2), (415, 2), (422, 2), (413, 1), (500, 1), (503, 1)])
def test_only_a_wrong_request_is_a_wrong_usage(scripted_server: Any, status: int, exit_code: int) -> None:
    scripted_server.answers[PATH] = (status, b"{}")
    with pytest.raises(RequestRefusedError) as caught:
        SnganClient(scripted_server.url, retries=0).images()
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


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidRequestError),
        (406, NotAcceptableError),
        (413, TooLargeError),
        (415, InvalidRequestError),
        (422, InvalidRequestError),
        (404, RequestRefusedError),
        (500, ServerFailedError),
        (503, BusyError),
        (507, ServerFailedError),
    ],
)
def test_errors_have_types(scripted_server: Any, status: int, kind: type[RequestRefusedError]) -> None:
    scripted_server.answers[PATH] = (status, b"")
    with pytest.raises(kind) as caught:
        SnganClient(scripted_server.url, retries=0).images()
    assert type(caught.value) is kind


def test_a_full_server_is_asked_again(scripted_server: Any) -> None:
    scripted_server.answers[PATH] = (503, b"")
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            scripted_server.answers[PATH] = (200, b"png")

    assert SnganClient(scripted_server.url, sleep=sleep).images(seed=1) == b"png"
    assert len(scripted_server.requests) == 4
    assert len({body for *_, body in scripted_server.requests}) == 1


def test_it_is_not_asked_for_ever(scripted_server: Any) -> None:
    scripted_server.answers[PATH] = (503, b'{"message": "full"}')
    pauses: list[float] = []
    with pytest.raises(BusyError, match="HTTP 503: full"):
        SnganClient(scripted_server.url, retries=2, sleep=pauses.append).images()
    assert (len(scripted_server.requests), len(pauses)) == (3, 2)


@pytest.mark.parametrize("status", [422, 500, 507])
def test_other_errors_are_not_tried_again(scripted_server: Any, status: int) -> None:
    scripted_server.answers[PATH] = (status, b"")
    with pytest.raises(RequestRefusedError):
        SnganClient(scripted_server.url).images()
    assert len(scripted_server.requests) == 1


def test_pauses_grow_and_are_random() -> None:
    for attempt, longest in enumerate((0.1, 0.2, 0.4, 0.8, 1.6, 3.2, LONGEST_PAUSE_S, LONGEST_PAUSE_S)):
        pauses = [pause_s(attempt) for _ in range(200)]
        assert 0.0 <= min(pauses) < 0.3 * longest  # wrong once in 0.7**200, which is 10**-31
        assert 0.7 * longest < max(pauses) <= longest
    assert 2.0 <= pause_s(0, "2") <= 2.1
    assert pause_s(0, "99999") <= LONGEST_PAUSE_S + 0.1
    assert pause_s(0, "Wed, 21 Oct 2026 07:28:00 GMT") <= 0.1


def test_a_token_and_more_headers_are_sent(scripted_server: Any) -> None:
    scripted_server.answers[PATH] = (200, b"")
    SnganClient(scripted_server.url, token="secret").request({}, headers={"X-Correlation-ID": "job-7"})
    headers = scripted_server.requests[-1][2]
    assert (headers["authorization"], headers["x-correlation-id"]) == ("Bearer secret", "job-7")


def test_many_at_once_with_asyncio(scripted_server: Any) -> None:
    scripted_server.answers[PATH] = (200, b"png")

    async def ask() -> list[bytes]:
        client = AsyncSnganClient(scripted_server.url, limit=4)
        answers = await asyncio.gather(*(client.images(seed=seed) for seed in range(12)))
        return [*answers, (await client.request({"n": 1}, accept="image/png")).body]

    assert asyncio.run(ask()) == [b"png"] * 13
    seeds = [json.loads(body).get("seed") for *_, body in scripted_server.requests]
    assert sorted(seeds[:-1]) == list(range(12))


def test_errors_come_through_asyncio(scripted_server: Any) -> None:
    scripted_server.answers[PATH] = (422, b"")
    with pytest.raises(InvalidRequestError):
        asyncio.run(AsyncSnganClient(scripted_server.url).images())
