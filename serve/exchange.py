"""One HTTP request and its answer.

`http.client` is used bare: it follows no redirects, asks no proxy named in the environment for a server on
this machine, and opens nothing but the address that it was given.
"""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
from collections.abc import Mapping
from urllib.parse import urlsplit

from serve.errors import UnreachableError


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What a server answered. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def exchange(
    url: str,
    *,
    method: str = "GET",
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    timeout_s: float,
) -> Answer:
    """Send one request on a connection of its own and read the whole answer, whatever its status.

    Args:
        url: http:// or https://.
        method: GET, POST …
        body: sent as it is.
        headers: besides those that HTTP itself needs.
        timeout_s: how long connecting, and each wait for more bytes, may take.

    Raises:
        UnreachableError: no HTTP answer came from there.
    """
    parts = urlsplit(url)
    kinds = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
    if parts.scheme not in kinds or not parts.hostname:
        raise UnreachableError(f"{url!r} is not an http:// or https:// address")
    connection = kinds[parts.scheme](parts.hostname, parts.port, timeout=timeout_s)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        # A server that refuses a long body answers and closes before it has read all of it.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.request(method, target, body=body, headers=dict(headers or {}))
        response = connection.getresponse()
        content = response.read()
        names = {name.lower(): value for name, value in response.getheaders()}
        return Answer(status=response.status, headers=names, body=content)
    except TimeoutError as error:
        raise UnreachableError(f"{url}: no answer within {timeout_s:g} s") from error
    except (OSError, http.client.HTTPException) as error:
        reason = str(error) or type(error).__name__
        raise UnreachableError(f"{url}: no answer: {reason}; is the server running?") from error
    finally:
        connection.close()
