"""The load client for machines without wrk: asyncio, kept-alive connections, and as little work as HTTP/1.1 allows.

It shares the processor with the server that it measures, so what a general HTTP library does for its users would be
taken from the server. It reads what our contenders send: a status line, headers with a length, a body.
"""

from __future__ import annotations

import asyncio
import collections
import json
import re
import time
from urllib.parse import urlsplit

from serve.bench.burst import MAX_BURST_S, MAX_REQUESTS, Burst, Load, percentiles

PNG = b"\x89PNG\r\n\x1a\n"
END_OF_HEADERS = b"\r\n\r\n"
LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
CLOSE = re.compile(rb"\r\nconnection:[ \t]*close", re.IGNORECASE)
RECONNECT_PAUSE_S = 0.05  # after a refused connection, so that a dead server is not asked a thousand times a second


class AsyncioClient:
    """Bursts by asyncio in this process."""

    name = "asyncio"

    def __call__(self, load: Load) -> Burst:
        """As `Client`. The first answer of every connection that has more counts for the rate and not for the latency:
        all connections start at once, and what they meet then is not what they meet later.
        """
        cpu_before = time.process_time()
        burst = _Tally(load)
        asyncio.run(burst.run())
        latencies = burst.later_s or burst.first_s
        return Burst(
            requests=burst.good,
            images=burst.good * load.images,
            seconds=burst.ended - burst.started,
            latency_ms=percentiles(latencies),
            errors=dict(burst.errors),
            client_cpu_s=time.process_time() - cpu_before,
        )


class _Tally:
    """The figures of one burst while it goes on."""

    def __init__(self, load: Load) -> None:
        parts = urlsplit(load.url)
        assert parts.hostname is not None
        assert parts.port is not None
        self.load, self.host, self.port = load, parts.hostname, parts.port
        self._head = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
        self.good, self.sent = 0, 0
        self.first_s: list[float] = []
        self.later_s: list[float] = []
        self.errors: collections.Counter[str] = collections.Counter()
        self.started = self.ended = 0.0

    async def run(self) -> None:
        self.started = self.ended = time.perf_counter()
        senders = [asyncio.create_task(self._send_on_and_on()) for _ in range(self.load.concurrency)]
        _, late = await asyncio.wait(senders, timeout=MAX_BURST_S)
        for sender in late:
            sender.cancel()
            self.errors["no answer in time"] += 1
        await asyncio.gather(*senders, return_exceptions=True)
        if late:
            self.ended = time.perf_counter()

    async def _send_on_and_on(self) -> None:
        """One connection's requests, on a new one where the server has closed it."""
        connection: _Connection | None = None
        latencies = self.first_s
        try:
            while time.perf_counter() - self.started < self.load.seconds and self.sent < MAX_REQUESTS:
                request = self._next_request()
                begun = time.perf_counter()
                try:
                    if connection is None or connection.closed:
                        connection = await _connect(self.host, self.port)
                    status, start = await connection.ask(request)
                except OSError as error:
                    connection = None
                    self.errors[type(error).__name__] += 1
                    await asyncio.sleep(RECONNECT_PAUSE_S)
                    continue
                self.ended = time.perf_counter()
                if status != 200:
                    self.errors[f"HTTP {status}"] += 1
                elif not start.startswith(PNG):
                    self.errors["no PNG"] += 1
                else:
                    self.good += 1
                    latencies.append(self.ended - begun)
                    latencies = self.later_s
        finally:
            if connection is not None:
                connection.close()

    def _next_request(self) -> bytes:
        seed = self.load.first_seed + self.sent
        self.sent += 1
        fields = {"n": self.load.images, "seed": seed}
        if self.load.classes:
            fields["class"] = seed % self.load.classes
        body = json.dumps(fields)
        return f"{self._head}Content-Length: {len(body)}\r\n\r\n{body}".encode("ascii")


async def _connect(host: str, port: int) -> _Connection:
    _, connection = await asyncio.get_running_loop().create_connection(_Connection, host, port)
    return connection


class _Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self.closed = False
        self._buffer = bytearray()
        self._body_at, self._needed = 0, -1
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Status and first bytes of the body; raises OSError if the answer does not come whole."""
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        if self._needed < 0:
            at = buffer.find(END_OF_HEADERS)
            if at < 0:
                return
            head = bytes(buffer[: at + 2])
            length = LENGTH.search(head)
            if length is None:
                self._fail(ConnectionError("an answer without a length"))
                return
            self._body_at, self._needed = at + 4, at + 4 + int(length[1])
            self.closed = CLOSE.search(head) is not None
        if len(buffer) >= self._needed:
            status, start = int(buffer[9:12]), bytes(buffer[self._body_at : self._body_at + len(PNG)])
            buffer.clear()
            self._needed = -1
            if self.closed:
                self.close()
            if self._answer is not None and not self._answer.done():
                self._answer.set_result((status, start))

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self._fail(exc if isinstance(exc, OSError) else ConnectionResetError("closed before the answer"))

    def _fail(self, error: OSError) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
        self.close()
