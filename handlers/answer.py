"""What goes back to one client, and the form of every error."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from handlers.accept import MEDIA_TYPES
from handlers.errors import RequestError

# TorchServe's reason phrases must be constant ASCII: it counts their characters and sends their bytes.
PHRASES = {
    200: "OK",
    400: "Bad Request",
    406: "Not Acceptable",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    422: "Unprocessable Content",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What goes back to one client. Header names and values are ASCII.

    Attributes:
        status: of HTTP, one of `PHRASES`.
        media_type: of the body.
        body: the whole of it.
        headers: besides those of the transport.
        images: how many are in the body.
        encoding_s: seconds that it took to make the body of pixels; None without any.
        reason: the type of the error, or None.
    """

    status: int
    media_type: str
    body: bytes
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    images: int = 0
    encoding_s: float | None = None
    reason: str | None = None

    @property
    def phrase(self) -> str:
        """The reason phrase of the status."""
        return PHRASES[self.status]


def error_answer(error: RequestError, request_id: str) -> Answer:
    """The JSON that says what is wrong; its first three keys are those of TorchServe's own errors."""
    record = {
        "code": error.code,
        "type": error.type,
        "message": error.message,
        "details": [dataclasses.asdict(detail) for detail in error.details],
        "request_id": request_id,
    }
    return Answer(status=error.code, media_type=MEDIA_TYPES["json"], body=json_bytes(record), reason=error.type)


def json_bytes(record: Mapping[str, Any]) -> bytes:
    """Compact ASCII JSON: whatever stands in a name, the bytes are valid."""
    return json.dumps(record, separators=(",", ":"), allow_nan=False).encode("ascii")
