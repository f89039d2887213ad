"""Both load clients against a server that takes a known time and counts for itself."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from serve.bench import asyncio_client, burst, wrk_client
from serve.bench.asyncio_client import AsyncioClient
from serve.bench.burst import Client, Load
from serve.bench.wrk_client import WrkClient, wrk_is_here
from serve.errors import ServeError

Counter = Any  # of conftest.py, which pytest imports by itself

needs_wrk = pytest.mark.skipif(not wrk_is_here(), reason="wrk is not installed (Debian: apt-get install wrk)")
CLIENTS = [AsyncioClient(), pytest.param(WrkClient(), marks=needs_wrk)]
BY_NAME = {"ids": lambda client: client.name}


def load(counter: Counter, **changes: Any) -> Load:
    settings = {"images": 2, "classes": 10, "concurrency": 4, "seconds": 1.0, "first_seed": 7}
    return Load(url=counter.url, **{**settings, **changes})


@pytest.mark.parametrize("client", CLIENTS, **BY_NAME)
def test_it_counts_what_the_server_counts(client: Client, counting_server: Counter) -> None:
    found = client(load(counting_server))
    asked = len(counting_server.asked)
    assert 0 <= asked - found.requests <= 4, "at most the last one of each connection has no answer that counts"
    assert found.requests > 40
    assert found.images == 2 * found.requests
    assert found.errors == {}
    assert len(counting_server.connections) == 4, "they are kept"


@pytest.mark.parametrize("client", CLIENTS, **BY_NAME)
def test_latency_and_rate_are_those_of_the_server(client: Client, counting_server: Counter) -> None:
    """20 ms a request, 4 at once: at most 200 a second. A busy machine makes it slower, never faster."""
    found = client(load(counting_server))
    assert 20 <= found.latency_ms[50] <= found.latency_ms[95] <= found.latency_ms[99] < 1000
    assert found.requests / found.seconds <= 4 / 0.020
    assert found.requests / found.seconds == pytest.approx(4000 / found.latency_ms[50], rel=0.5)
    assert 0 < found.client_cpu_s < found.seconds


@pytest.mark.parametrize("client", CLIENTS, **BY_NAME)
def test_what_an_end_cuts_off_does_not_lower_the_rate(client: Client, counting_server: Counter) -> None:
    """Four answers after 0.7 s, four more after 1.4, and the load ends at 1: 4 / 0.7 s all along, not 4 a second."""
    counting_server.delay_s = 0.7
    found = client(load(counting_server))
    assert 0.74 * 4 / 0.7 <= found.requests / found.seconds <= 4 / 0.7  # a busy machine is slower; 4 a second is 0.70


@pytest.mark.parametrize("client", CLIENTS, **BY_NAME)
def test_every_request_is_another(client: Client, counting_server: Counter) -> None:
    client(load(counting_server))
    seeds = sorted(one["seed"] for one in counting_server.asked)
    assert seeds == list(range(seeds[0], seeds[0] + len(seeds)))
    assert seeds[0] - 7 in (0, 1), "wrk makes a request to look at before it begins"
    assert all(one == {"n": 2, "seed": one["seed"], "class": one["seed"] % 10} for one in counting_server.asked)


@pytest.mark.parametrize("client", CLIENTS, **BY_NAME)
def test_a_model_without_classes_is_asked_for_none(client: Client, counting_server: Counter) -> None:
    client(load(counting_server, classes=0))
    assert all(set(one) == {"n", "seed"} for one in counting_server.asked)


@pytest.mark.parametrize("client", CLIENTS, **BY_NAME)
@pytest.mark.parametrize("closes", [False, True])
def test_refusals_are_errors_and_no_images(client: Client, counting_server: Counter, closes: bool) -> None:
    counting_server.status, counting_server.closes = 503, closes
    found = client(load(counting_server))
    assert found.requests == found.images == 0
    assert sum(found.errors.values()) >= len(counting_server.asked) - 4
    assert set(found.errors) <= {"HTTP 503", "status"}


def test_asyncio_looks_at_the_body(counting_server: Counter) -> None:
    counting_server.body = b"{}"
    found = AsyncioClient()(load(counting_server))
    assert (found.requests, list(found.errors)) == (0, ["no PNG"])


def test_asyncio_connects_anew_where_the_server_closes(counting_server: Counter) -> None:
    counting_server.closes = True
    found = AsyncioClient()(load(counting_server))
    assert found.errors == {}
    assert len(counting_server.connections) == found.requests == len(counting_server.asked)


def test_asyncio_without_a_server_is_all_errors() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/x"
        found = AsyncioClient()(Load(url=url, images=1, classes=0, concurrency=2, seconds=0.3))
    assert found.requests == 0
    assert set(found.errors) == {"ConnectionRefusedError"}
    assert found.errors["ConnectionRefusedError"] < 30, "it pauses after each"


def test_asyncio_ends_although_the_server_does_not_answer(silent_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asyncio_client, "MAX_BURST_S", 0.5)
    found = AsyncioClient()(Load(url=f"{silent_url}/x", images=1, classes=0, concurrency=3, seconds=0.1))
    assert (found.requests, found.errors) == (0, {"no answer in time": 3})


@pytest.mark.parametrize("client", CLIENTS, **BY_NAME)
def test_requests_are_bounded(client: Client, counting_server: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (asyncio_client, wrk_client, burst):
        monkeypatch.setattr(module, "MAX_REQUESTS", 20)
    client(load(counting_server))
    assert len(counting_server.asked) <= 20 + 4


@needs_wrk
def test_wrk_without_figures_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wrk_client, "SCRIPT", "this is no Lua")
    with pytest.raises(ServeError, match="wrk ended with code"):
        WrkClient()(Load(url="http://127.0.0.1:1/x", images=1, classes=0, concurrency=1, seconds=0.1))
