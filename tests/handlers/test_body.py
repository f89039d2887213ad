"""Every form in which TorchServe hands a body over."""

from __future__ import annotations

from typing import Any

import pytest

from handlers.body import SHOWN_CHARACTERS, read_fields, shown
from handlers.errors import RequestError

JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("data", "headers"),
    [
        ({"body": {"n": 2}}, JSON),  # parsed by TorchServe
        ({"body": bytearray(b'{"n": 2}')}, JSON),
        ({"body": b'{"n": 2}'}, {"content-type": "application/json; charset=utf-8"}),
        ({"body": b'\xef\xbb\xbf{"n": 2}'}, JSON),  # with a byte order mark
        ({"body": b'{"n": 2}'}, {}),
        ({"body": b'{"n": 2}'}, {"content-type": "application/octet-stream"}),
        ({"body": b'{"n": 2}'}, {"content-type": "application/problem+json"}),
        ({"body": '{"n": 2}'}, {"content-type": "text/plain"}),
        ({"data": b'{"n": 2}'}, {}),  # over gRPC, under the name that TorchServe's examples use
    ],
)
def test_json_is_read_however_it_comes(data: dict[str, Any], headers: dict[str, str]) -> None:
    assert read_fields(data, headers) == {"n": 2}


@pytest.mark.parametrize(
    ("data", "headers"),
    [
        ({"body": bytearray()}, {}),
        ({"body": b""}, JSON),
        ({"body": b""}, {"content-type": "image/png"}),
        ({}, {}),
        ({}, {"content-type": "application/x-www-form-urlencoded", "content-length": "0"}),  # curl -d ''
        ({"body": {}}, JSON),
        ({"body": b"{}"}, JSON),
    ],
)
def test_nothing_means_no_fields(data: dict[str, Any], headers: dict[str, str]) -> None:
    assert read_fields(data, headers) == {}


@pytest.mark.parametrize(
    ("data", "content_type"),
    [
        # `curl -d '{"n": 2}'` as TorchServe 0.12 delivers it: a form whose only field has no value
        ({}, "application/x-www-form-urlencoded"),
        ({"n": bytearray(b"2")}, "application/x-www-form-urlencoded"),
        ({"n": bytearray(b"2")}, "multipart/form-data; boundary=x"),
        ({"body": bytearray(b'{"n": 2}')}, "multipart/form-data; boundary=x"),
        ({"body": bytearray(b'{"n": 2}')}, "image/png"),
        ({"body": bytearray(b'{"n": 2}')}, "application/xml"),
        ({"data": bytearray(b'{"n": 2}')}, "multipart/form-data; boundary=x"),
        ({"body": bytearray(b""), "n": bytearray(b"2")}, ""),  # a query string on another address
    ],
)
@pytest.mark.parametrize("length", [{}, {"content-length": "8"}])  # a chunked body has no length
def test_what_is_not_sent_as_json_is_415_with_the_remedy(
    data: dict[str, Any], content_type: str, length: dict[str, str]
) -> None:
    with pytest.raises(RequestError, match="-H 'Content-Type: application/json'") as caught:
        read_fields(data, {"content-type": content_type, **length})
    assert caught.value.code == 415


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "not JSON"),
        (b"n=2", "not JSON"),
        (b" ", "not JSON"),
        (b"\xff\xfe", "not UTF-8"),
        (b'{"n": 2} {}', "not JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b'{"n": 1, "n": 2}', 'gives "n" twice'),
        (b'{"n": NaN}', "NaN is no JSON number"),
        (b'{"n": -Infinity}', "-Infinity is no JSON number"),
        (b'{"n": ' + b"9" * 5000 + b"}", "too many digits"),
        (b"[1, 2]", "not a list of 2"),
        (b"7", "not 7"),
        (b"null", "not null"),
        (b'"cat"', 'not "cat"'),
    ],
)
def test_malformed_bodies_are_400(body: bytes, words: str) -> None:
    with pytest.raises(RequestError, match=words) as caught:
        read_fields({"body": bytearray(body)}, JSON)
    assert caught.value.code == 400


@pytest.mark.parametrize("body", [[1], 7, None, True, 1.5])
def test_parsed_bodies_that_are_no_object_are_400(body: object) -> None:
    with pytest.raises(RequestError, match="must be a JSON object") as caught:
        read_fields({"body": body}, JSON)
    assert caught.value.code == 400


def test_shown_values_are_short_and_encodable() -> None:
    for value in ("x" * 10_000, 10**4000, -(10**400), ["x"] * 10_000, {"a": "b"}, "\ud800", 1.5, True, None):
        text = shown(value)
        text.encode("utf-8")
        assert len(text) <= SHOWN_CHARACTERS + 3
    assert shown("cät") == '"cät"'
