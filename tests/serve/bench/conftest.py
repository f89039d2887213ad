"""A server that answers every POST with a small PNG after a known time, and remembers what it was asked."""

from __future__ import annotations

import dataclasses
import http.server
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

PNG = b"\x89PNG\r\n\x1a\n" + b"rest"


@dataclasses.dataclass(kw_only=True)
class Counter:
    """What it does, and what came."""

    url: str = ""
    delay_s: float = 0.02
    status: int = 200
    body: bytes = PNG
    closes: bool = False
    asked: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    connections: set[tuple[str, int]] = dataclasses.field(default_factory=set)


@pytest.fixture
def counting_server() -> Iterator[Counter]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # or the body waits 40 ms for the headers' acknowledgement

        def do_POST(self) -> None:
            counter.connections.add(self.client_address)
            counter.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            time.sleep(counter.delay_s)
            self.send_response(counter.status)
            self.send_header("Content-Length", str(len(counter.body)))
            if counter.closes:
                self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(counter.body)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that has gone is no fault here."""

    with Server(("127.0.0.1", 0), Handler) as server:
        counter = Counter(url=f"http://127.0.0.1:{server.server_port}/predictions/sngan")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield counter
        server.shutdown()
        thread.join()
