"""The access log: one JSON object a line for each request that reached a worker.

TorchServe's own access log has no request id and says nothing of what was asked for.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import sys
from collections.abc import Iterable


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """One request and what became of it.

    Attributes:
        request_id: TorchServe's, as in the answer's X-Request-Id. Its beginning may be the client's word.
        status: of HTTP.
        media_type: of the answer.
        images: in the answer; 0 if it was refused.
        body_bytes: of the answer.
        encoding_s: seconds for making the body of pixels; None if it was refused.
        reason: the type of the error, a name out of the program's own; None if it was answered.
    """

    request_id: str
    status: int
    media_type: str
    images: int = 0
    body_bytes: int = 0
    encoding_s: float | None = None
    reason: str | None = None


class AccessLog:
    """Appends to a file that it opens anew each time: whoever rotates it needs to tell nobody."""

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._said = False

    def write(self, answered: Iterable[Answered], *, provider: str, variant: str, seconds: float) -> None:
        """A line for each request of a batch that took `seconds`. A log that cannot be written stops no request."""
        if self._path is None:
            return
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        lines = [
            json.dumps(
                {
                    "time": now,
                    "request_id": one.request_id,
                    "status": one.status,
                    "reason": one.reason,
                    "media_type": one.media_type,
                    "images": one.images,
                    "bytes": one.body_bytes,
                    "seconds": round(seconds, 6),
                    "encoding_seconds": None if one.encoding_s is None else round(one.encoding_s, 6),
                    "provider": provider,
                    "variant": variant,
                    "worker": os.getpid(),
                }
            )
            for one in answered
        ]
        if not lines:
            return
        try:
            # One write: lines of several workers may follow one another, never mix.
            file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
            try:
                os.write(file, ("\n".join(lines) + "\n").encode())
            finally:
                os.close(file)
            self._said = False
        except OSError as error:
            if not self._said:
                print(f"sngan: the access log cannot be written: {error}", file=sys.stderr)
            self._said = True
