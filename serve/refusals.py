"""The errors of a client whose request was answered with one, a class for each kind."""

from __future__ import annotations

import json
from typing import Any

from serve.errors import ServeError
from serve.exchange import Answer


class RequestRefusedError(ServeError):
    """The server answered with an error.

    Attributes:
        status: the HTTP status.
        type: the server's name for the kind of error; "" when it gave none.
        message: its sentence.
        details: what is wrong, field by field: dicts with "field", "reason", "allowed".
        request_id: to find the request in the server's log; "" when it gave none.

    `exit_code` is 2 where the request itself was wrong: on the command line, a wrong usage.
    """

    def __init__(self, answer: Answer) -> None:
        record = _json_object(answer.body)
        self.status = answer.status
        self.type = str(record.get("type", ""))
        self.message = str(record.get("message", "")) or "no reason was given"
        details = record.get("details")
        self.details: list[dict[str, str]] = details if isinstance(details, list) else []
        self.request_id = str(record.get("request_id", ""))
        super().__init__(f"HTTP {self.status}: {self.message}")


class InvalidRequestError(RequestRefusedError):
    """400, 415, 422: the request itself is wrong; `details` says where."""

    exit_code = 2


class NotAcceptableError(RequestRefusedError):
    """406: none of the formats is taken by the Accept header."""


class TooLargeError(RequestRefusedError):
    """413: the answer, or the request, would be larger than the server allows."""


class BusyError(RequestRefusedError):
    """503, after all retries: more requests are waiting than the server lets wait."""


class ServerFailedError(RequestRefusedError):
    """500, 507 or another 5xx: the server failed, or its worker died."""


def refusal(answer: Answer) -> RequestRefusedError:
    """The error for an answer whose status is 400 or more."""
    kinds: dict[int, type[RequestRefusedError]] = {
        400: InvalidRequestError,
        406: NotAcceptableError,
        413: TooLargeError,
        415: InvalidRequestError,
        422: InvalidRequestError,
        503: BusyError,
    }
    usual = ServerFailedError if answer.status >= 500 else RequestRefusedError
    return kinds.get(answer.status, usual)(answer)


def _json_object(body: bytes) -> dict[str, Any]:
    """The object in `body`, or an empty one: TorchServe's own 413 has no body."""
    try:
        record = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}
