"""A client: standard library, one connection a request, no retries."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import EllipsisType
from typing import Any

from serve.config import MODEL_NAME
from serve.errors import ServeError
from serve.exchange import Answer, exchange

ClassGiven = int | str | Sequence[int | str] | None


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
        if self.status in (400, 422):
            self.exit_code = 2
        super().__init__(f"HTTP {self.status}: {self.message}")


class SnganClient:
    """Asks the server at `base_url`, such as http://127.0.0.1:8080."""

    def __init__(self, base_url: str, timeout_s: float = 60.0) -> None:
        self.base_url = base_url.rstrip("/")
        self.timeout_s = timeout_s

    def images(
        self,
        *,
        class_: ClassGiven = None,
        n: int | None = None,
        seed: int | None = None,
        truncation: float | EllipsisType | None = ...,
    ) -> bytes:
        """A PNG file: one image, or the grid of several.

        Args:
            class_: id or name, or one for each image; None leaves the choice to the seed. A model without classes takes
                None alone.
            n: images; None is 1, or as many as there are classes.
            seed: None lets the server draw one.
            truncation: None is no bound; without it the model's default holds.

        Raises:
            RequestRefusedError: the server answered with an error.
            UnreachableError: it did not answer.
        """
        payload: dict[str, Any] = {"format": "png"}
        if class_ is not None:
            payload["class"] = class_ if isinstance(class_, (int, str)) else list(class_)
        if n is not None:
            payload["n"] = n
        if seed is not None:
            payload["seed"] = seed
        if truncation is not ...:
            payload["truncation"] = truncation
        return self.request(payload).body

    def request(self, payload: Mapping[str, Any], accept: str = "*/*") -> Answer:
        """The answer to any body of the server's HTTP interface.

        Raises:
            RequestRefusedError: the answer is an error.
            UnreachableError: there was none.
        """
        answer = exchange(
            f"{self.base_url}/predictions/{MODEL_NAME}",
            method="POST",
            body=json.dumps(payload).encode("utf-8"),
            headers={"Content-Type": "application/json", "Accept": accept},
            timeout_s=self.timeout_s,
        )
        if answer.status >= 400:
            raise RequestRefusedError(answer)
        return answer


def _json_object(body: bytes) -> dict[str, Any]:
    """The object in `body`, or an empty one: TorchServe's own 413 has no body."""
    try:
        record = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}
