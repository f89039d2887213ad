from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pytest

from serve import tokens
from serve.errors import UnreachableError

NOWHERE = "http://127.0.0.1:1"


def write(folder: Path, minutes: float, key: str = "inf") -> None:
    """A file as TorchServe 0.12 writes it."""
    expiry = datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=minutes)
    text = expiry.isoformat().replace("+00:00", "Z")
    keys: dict[str, Any] = {
        "management": {"key": "man", "expiration time": text},
        "inference": {"key": key, "expiration time": text},
        "API": {"key": "api"},
    }
    (folder / tokens.FILE).write_text(json.dumps(keys, indent=2))


def test_a_server_without_tokens_wants_no_header(tmp_path: Path) -> None:
    assert tokens.headers(tmp_path, NOWHERE, "inference", 1.0) == {}


def test_the_right_key_is_sent(tmp_path: Path) -> None:
    write(tmp_path, minutes=10)
    assert tokens.headers(tmp_path, NOWHERE, "inference", 1.0) == {"Authorization": "Bearer inf"}
    assert tokens.headers(tmp_path, NOWHERE, "management", 1.0) == {"Authorization": "Bearer man"}


def test_an_expired_key_is_renewed_with_the_lasting_one(tmp_path: Path, scripted_server: Any) -> None:
    write(tmp_path, minutes=-1)
    path = "/token?type=inference"
    with pytest.raises(UnreachableError, match="not renewed: HTTP 404"):
        tokens.headers(tmp_path, scripted_server.url, "inference", 5.0)

    class Renewing(dict[str, tuple[int, bytes]]):
        def get(self, key: str, default: Any = None) -> Any:
            write(tmp_path, minutes=60, key="new")
            return 200, b"{}"

    scripted_server.answers = Renewing()
    assert tokens.headers(tmp_path, scripted_server.url, "inference", 5.0) == {"Authorization": "Bearer new"}
    assert [(request[1], request[2]["authorization"]) for request in scripted_server.requests] == [
        (path, "Bearer api")
    ] * 2


def test_a_broken_file_is_said(tmp_path: Path) -> None:
    (tmp_path / tokens.FILE).write_text("{}")
    with pytest.raises(UnreachableError, match="is not a file of TorchServe's tokens"):
        tokens.headers(tmp_path, NOWHERE, "inference", 1.0)
