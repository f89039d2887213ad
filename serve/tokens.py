"""TorchServe's tokens, where `--token-auth` asks for them.

TorchServe writes three keys of 48 bits each to a file that its user alone can read. Those for predictions and for
management expire after an hour; the third does not, and renews either of them.
"""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

from serve.errors import UnreachableError
from serve.exchange import exchange

FILE = "key_file.json"
EXPIRY_MINUTES = 60
# A key that would expire on the way to the server is renewed beforehand.
MARGIN = datetime.timedelta(seconds=30)


def headers(folder: Path, management_url: str, kind: str, timeout_s: float) -> dict[str, str]:
    """The header that a request needs; none if the server in `folder` asks for no tokens.

    Args:
        folder: the server's private folder.
        management_url: of the server.
        kind: "inference" or "management".
        timeout_s: for renewing an expired key, which makes the old one void for everybody.

    Raises:
        UnreachableError: the key has expired and cannot be renewed.
    """
    try:
        keys = _read(folder)
        expiry = datetime.datetime.fromisoformat(keys[kind]["expiration time"])
        if expiry - MARGIN > datetime.datetime.now(datetime.UTC):
            return _bearer(keys[kind]["key"])
        url = f"{management_url}/token?type={kind}"
        answer = exchange(url, headers=_bearer(keys["API"]["key"]), timeout_s=timeout_s)
        if answer.status != 200:
            raise UnreachableError(f"the {kind} token has expired and was not renewed: HTTP {answer.status}")
        return _bearer(_read(folder)[kind]["key"])
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UnreachableError(f"{folder / FILE} is not a file of TorchServe's tokens") from error


def _read(folder: Path) -> Any:
    return json.loads((folder / FILE).read_text(encoding="utf-8"))


def _bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}
