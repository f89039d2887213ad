"""TorchServe's management port, as far as it is used: who works, what waits, and the swap of a model.

Only the answers that are needed are read; TorchServe's errors become one line.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from serve.config import MODEL_NAME
from serve.errors import ManagementError, UnreachableError
from serve.exchange import Answer, exchange
from serve.tokens import headers as token_headers


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ModelState:
    """One version of the model.

    Attributes:
        version: as in the URL of predictions.
        workers: their statuses, such as ("READY",).
        waiting: requests in its queue.
    """

    version: str
    workers: tuple[str, ...]
    waiting: int


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Management:
    """The management port of one server.

    Attributes:
        url: such as http://127.0.0.1:8081.
        folder: the server's private folder, where its tokens are, if known.
        timeout_s: for each answer but that to `register`.
    """

    url: str
    folder: Path | None = None
    timeout_s: float = 10.0

    def state(self, version: str | None = None) -> ModelState | None:
        """The state of `version`, or of the default one; None if it is not registered.

        Raises:
            UnreachableError: nothing that looks like TorchServe's management answered.
        """
        path = f"/models/{MODEL_NAME}" + ("" if version is None else f"/{quote(version, safe='')}")
        answer = self._ask("GET", path)
        if answer.status == 404:
            return None
        if answer.status != 200:  # above all a token that is wanted and that nobody here knows
            raise UnreachableError(f"{self.url}{path}: HTTP {answer.status}: {_message(answer.body)}")
        try:
            [record] = json.loads(answer.body)
            return ModelState(
                version=record["modelVersion"],
                workers=tuple(str(worker["status"]) for worker in record["workers"]),
                waiting=int(record.get("jobQueueStatus", {}).get("pendingRequests", 0)),
            )
        except (ValueError, TypeError, LookupError) as error:
            raise UnreachableError(f"{self.url}{path}: what answers there is not TorchServe's management") from error

    def register(self, folder_name: str, workers: int, timeout_s: float) -> None:
        """Register a model folder of the server's store and wait for its workers.

        Raises:
            ManagementError: TorchServe refused it, or a worker did not start.
            UnreachableError: no answer within `timeout_s`.
        """
        query = {"url": folder_name, "model_name": MODEL_NAME, "initial_workers": workers, "synchronous": "true"}
        self._do("POST", f"/models?{urlencode(query)}", timeout_s)

    def set_default(self, version: str) -> None:
        """Send requests that name no version to `version`; raises as `register`."""
        self._do("PUT", f"/models/{MODEL_NAME}/{quote(version, safe='')}/set-default", self.timeout_s)

    def unregister(self, version: str) -> None:
        """Stop the workers of `version`, whatever they are doing; raises as `register`."""
        self._do("DELETE", f"/models/{MODEL_NAME}/{quote(version, safe='')}", self.timeout_s)

    def _do(self, method: str, path: str, timeout_s: float) -> None:
        answer = self._ask(method, path, timeout_s)
        if answer.status >= 300:
            raise ManagementError(f"TorchServe: HTTP {answer.status}: {_message(answer.body)}")

    def _ask(self, method: str, path: str, timeout_s: float | None = None) -> Answer:
        headers = {}
        if self.folder is not None:
            headers = token_headers(self.folder, self.url, "management", self.timeout_s)
        return exchange(self.url + path, method=method, headers=headers, timeout_s=timeout_s or self.timeout_s)


def _message(body: bytes) -> str:
    """The sentence in TorchServe's error, else the beginning of what it is."""
    try:
        record: Any = json.loads(body)
        return str(record["message"])
    except (ValueError, TypeError, LookupError):
        return body[:200].decode("utf-8", "replace")
