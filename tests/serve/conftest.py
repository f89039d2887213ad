"""A small HTTP server whose answers a test writes down, and a short folder for temporary files."""

from __future__ import annotations

import dataclasses
import http.server
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest


@dataclasses.dataclass(kw_only=True)
class Script:
    """Answers by path, and the requests that came."""

    url: str
    answers: dict[str, tuple[int, bytes]] = dataclasses.field(default_factory=dict)
    requests: list[tuple[str, str, dict[str, str], bytes]] = dataclasses.field(default_factory=list)


@pytest.fixture
def temp(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where private folders go; pytest's own folders have paths too long for TorchServe's sockets."""
    tmp_path_factory.getbasetemp()  # pytest chooses its own at first use, which must not be in ours
    with tempfile.TemporaryDirectory(prefix="t") as folder:
        monkeypatch.setattr("tempfile.tempdir", folder)
        monkeypatch.setenv("TMPDIR", folder)
        yield Path(folder)


@pytest.fixture
def scripted_server() -> Iterator[Script]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            script.requests.append((self.command, self.path, headers, body))
            status, content = script.answers.get(self.path, (404, b"{}"))
            self.send_response(status)
            self.send_header("X-SNGAN-Seed", "7")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_DELETE = answer

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        script = Script(url=f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield script
        server.shutdown()
        thread.join()


@pytest.fixture
def silent_url() -> Iterator[str]:
    """An address that takes connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
