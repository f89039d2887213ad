"""Tricks with HTTP itself: framing, targets, pipelining, garbage.

Refused requests of plainer kinds are in test_serve_operations. What TorchServe lets through is here too, as
docs/operate.md says it, so that nobody takes it for safe.
"""

from __future__ import annotations

import contextlib
import gzip
import re
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import quote

import psutil
import pytest

if TYPE_CHECKING:
    from tests.e2e.conftest import Serving

pytest.importorskip("ts")
pytestmark = pytest.mark.torchserve

ANSWER_S = 60.0
LEAKS = re.compile(rb"Traceback|\.py\b|/tmp|/store|/home|site-packages|\bjava\.|io\.netty|org\.pytorch|at line")
BODY = b'{"seed": 5}'
CHUNKED = b"b\r\n" + BODY + b"\r\n0\r\n\r\n"
SMUGGLED = b"GET /predictions/other HTTP/1.1\r\nHost: x\r\n\r\n"
PATH = b"/predictions/sngan"


def post(body: bytes = BODY, *headers: bytes, length: bool = True, path: bytes = PATH) -> bytes:
    lines = [b"POST " + path + b" HTTP/1.1", b"Host: x", *headers]
    lines += [b"Content-Length: %d" % len(body)] if length else []
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def get(path: bytes, *headers: bytes, method: bytes = b"GET") -> bytes:
    return b"\r\n".join((method + b" " + path + b" HTTP/1.1", b"Host: x", *headers)) + b"\r\n\r\n"


def talk(port: int, sent: bytes, limit_s: float = ANSWER_S) -> bytes:
    """All that comes back until the server closes, or is silent for `limit_s`, or half a second after an answer."""
    received = b""
    connection = socket.create_connection(("127.0.0.1", port), timeout=limit_s)
    with connection, contextlib.suppress(OSError):  # it may close at once, or not at all
        connection.sendall(sent)
        while chunk := connection.recv(65536):
            received += chunk
            connection.settimeout(0.5)
    return received


def statuses(received: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", received)]


@pytest.fixture(scope="module")
def serving(steady_serving: Serving) -> Iterator[Serving]:
    """At the end the log must still be readable."""
    yield steady_serving
    assert not [line for line in steady_serving.said if line.startswith("\tat ") or "Traceback" in line]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (post(CHUNKED, b"Transfer-Encoding: xchunked", length=False), 400),
        (post(b"0\r\n\r\n" + SMUGGLED, b"Transfer-Encoding: xchunked"), 400),
        (post(b"0\r\n\r\n" + SMUGGLED, b"Transfer-Encoding : chunked"), 400),
        (post(BODY + SMUGGLED, b"Content-Length: 3"), 400),
        (post(BODY, b"Content-Length: 11, 11", length=False), 400),
        (post(BODY, b"Content-Length: 99999999999999999999", length=False), 400),
        (post(b"zz\r\n" + BODY, b"Transfer-Encoding: chunked", length=False), 400),
        (post((b"10000\r\n" + b" " * 65536 + b"\r\n") * 32, b"Transfer-Encoding: chunked", length=False), 413),
        (post(BODY, b"Content-Length: 2000000000", b"Expect: 100-continue", length=False), 413),
        (post(BODY, b"Expect: 200-ok"), 417),
        (post(gzip.compress(bytes(10**7)), b"Content-Encoding: gzip"), 400),
        (post(BODY, b"X: a\0b"), 400),
        (get(PATH, *(b"X-%d: 1" % number for number in range(2000))), 400),
        (b"GET /predictions/sngan\r\n\r\n", 400),
        (get(b"http://elsewhere/predictions/sngan"), 404),
        (get(b"//predictions//sngan"), 404),
        (get(b"/predictions/..;/models/sngan"), 404),
        (get(b"/predictions/%2e%2e/models"), 404),
        (get(b"/predictions/sngan.mar"), 404),
        (get(b"/predictions/" + quote("sngan\r\nX-Evil: 1").encode()), 404),
        (post(b"", path=b"/invocations?model_name=../../etc/passwd"), 404),
        (post(b"", path=b"/models/..%2fsngan/invoke"), 404),
        (post(b"", path=b"/wfpredict/x"), 404),
        (get(b"/workflows"), 404),
        (get(b"/models/sngan?customized=true"), 404),
        (post(b"--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"../../x\"\r\n\r\nx\r\n--b--\r\n",
              b"Content-Type: multipart/form-data; boundary=b"), 415),
    ],
)  # fmt: skip
def test_tricks_with_http_are_refused(serving: Serving, sent: bytes, status: int) -> None:
    """One answer, a refusal that says nothing of the inside, and no header that the client made up."""
    received = talk(serving.port, sent)
    assert statuses(received) == [status], received[:300]
    assert LEAKS.search(received) is None, received[:1000]
    assert b"x-evil" not in received.partition(b"\r\n\r\n")[0].lower()


@pytest.mark.parametrize(
    "sent", [get(b"*"), get(b"127.0.0.1:22", method=b"CONNECT"), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]
)
def test_a_target_that_is_no_path_is_torchserve_s_500(serving: Serving, sent: bytes) -> None:
    """It stumbles over its own index, and says so; nothing else is told."""
    received = talk(serving.port, sent)
    assert statuses(received) == [500]
    assert b"Index 1 out of bounds" in received
    assert LEAKS.search(received) is None, received


def test_chunks_and_expectations_are_understood(serving: Serving) -> None:
    picture = serving.post(BODY).body
    assert talk(serving.port, post(CHUNKED, b"Transfer-Encoding: chunked", length=False)).endswith(picture)
    received = talk(serving.port, post(BODY, b"Expect: 100-continue"))
    assert statuses(received) == [100, 200]
    assert received.endswith(picture)


def test_torchserve_alone_is_no_guard_against_smuggling(serving: Serving) -> None:
    """Of two lengths it takes the chunks', and reads the rest as a request: a strict proxy must stand before it."""
    for both in (post(b"0\r\n\r\n" + SMUGGLED, b"Transfer-Encoding: chunked"), post() + SMUGGLED):
        received = talk(serving.port, both)
        assert 404 in statuses(received), "the answer to the request inside"
        assert set(statuses(received)) <= {200, 404}
        assert LEAKS.search(received) is None


def test_pipelined_requests_are_answered_once_each_in_any_order(serving: Serving) -> None:
    """HTTP wants the order kept. TorchServe does not keep it: one request at a time on a connection."""
    bodies = [b'{"seed": %d, "n": %d}' % (seed, 1 if seed % 2 else 64) for seed in range(10)]
    pictures = {serving.post(body).body for body in bodies}
    assert len(pictures) == len(bodies)
    received = talk(serving.port, b"".join(post(body) for body in bodies))
    assert statuses(received) == [200] * len(bodies)
    assert {picture for picture in pictures if received.count(picture) == 1} == pictures


def test_garbage_on_every_port_harms_nobody(serving: Serving) -> None:
    ports = {c.laddr.port for c in serving.java.net_connections("tcp") if c.status == psutil.CONN_LISTEN}
    assert len(ports) == 5
    for port in sorted(ports):
        for garbage in (
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
            b"\0" * 65536,
            b"GET / HTTP/1.1\r\n\r\n",
        ):
            assert LEAKS.search(talk(port, garbage, limit_s=1.0)) is None
    assert serving.post(b"{}").status == 200
