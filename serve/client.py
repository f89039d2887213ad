"""Clients of a running server, waiting and asynchronous: standard library, one connection a request.

A server that is full answers 503 at once. The clients try again, each time after a random part of a longer pause, so
that those who were turned away together do not come back together.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from types import EllipsisType
from typing import Any

from serve.config import MODEL_NAME
from serve.exchange import Answer, exchange
from serve.refusals import (
    BusyError,
    InvalidRequestError,
    NotAcceptableError,
    RequestRefusedError,
    ServerFailedError,
    TooLargeError,
    refusal,
)

__all__ = [
    "AsyncSnganClient",
    "BusyError",
    "InvalidRequestError",
    "NotAcceptableError",
    "RequestRefusedError",
    "ServerFailedError",
    "SnganClient",
    "TooLargeError",
]

ClassGiven = int | str | Sequence[int | str] | None

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0
DEFAULT_RETRIES = 6  # six pauses of at most 0.1, 0.2 … 3.2 s


def payload_of(**fields: Any) -> dict[str, Any]:
    """The fields that were given, as the server's HTTP interface names them: without those that are None or `...`.

    `truncation` alone may be None, which is no bound; `class_` is `class`.
    """
    payload = {name: value for name, value in fields.items() if value is not None and value is not ...}
    if fields.get("truncation", ...) is None:
        payload["truncation"] = None
    if "class_" in payload:
        given = payload.pop("class_")
        payload["class"] = given if isinstance(given, (int, str)) else list(given)
    return payload


class SnganClient:
    """Asks the server at `base_url`, such as http://127.0.0.1:8080, and waits for its answer."""

    def __init__(
        self,
        base_url: str,
        timeout_s: float = 60.0,
        retries: int = DEFAULT_RETRIES,
        token: str | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Nothing is sent yet.

        Args:
            base_url: http:// or https://, without a path.
            timeout_s: how long connecting, and each wait for more bytes, may take.
            retries: how often to come back after a 503.
            token: sent as `Authorization: Bearer …`.
            sleep: waits for that many seconds.
        """
        self.base_url = base_url.rstrip("/")
        self.timeout_s = timeout_s
        self.retries = retries
        self.token = token
        self._sleep = sleep

    def images(
        self,
        *,
        class_: ClassGiven = None,
        n: int | None = None,
        seed: int | None = None,
        truncation: float | EllipsisType | None = ...,
        z: Sequence[Sequence[float]] | None = None,
        return_z: bool | None = None,
        format: str = "png",
        image_format: str | None = None,
        quality: int | None = None,
        layout: str | None = None,
        columns: int | None = None,
        padding: int | None = None,
        scale: int | None = None,
    ) -> bytes:
        """A file in `format`: a PNG, for one, of one image or of the grid of several.

        Args:
            class_: id or name, or one for each image; None leaves the choice to the seed. A model without classes takes
                None alone.
            n: images; None is 1, or as many as there are classes or latents.
            seed: None lets the server draw one.
            truncation: None is no bound; without it the model's default holds.
            z: the latents, a row an image, in place of seed and truncation.
            return_z: list the latents too, in "json" and "zip".
            format: "png", "jpeg", "webp", "zip", "npy" or "json".
            image_format: of the files in "zip" and "json".
            quality: of JPEG and WebP, 1 ... 100; None is 90 for JPEG, and for WebP no loss.
            layout: "single" or "grid"; None is single for one image, else grid.
            columns: images a row of a grid; None makes it nearly square.
            padding: black pixels around each image of a grid; None is 2.
            scale: enlargement by nearest neighbour; None is 1.

        Raises:
            RequestRefusedError: the server answered with an error; its subclasses say of which kind.
            UnreachableError: it did not answer.
        """
        payload = payload_of(
            class_=class_,
            n=n,
            seed=seed,
            truncation=truncation,
            z=None if z is None else [list(row) for row in z],
            return_z=return_z,
            format=format,
            image_format=image_format,
            quality=quality,
            layout=layout,
            columns=columns,
            padding=padding,
            scale=scale,
        )
        return self.request(payload).body

    def request(
        self, payload: Mapping[str, Any], accept: str = "*/*", headers: Mapping[str, str] | None = None
    ) -> Answer:
        """The answer to any body of the server's HTTP interface.

        Args:
            payload: the body.
            accept: which formats are liked, where `payload` names none.
            headers: more of them, such as X-Correlation-ID.

        Raises:
            RequestRefusedError: the answer is an error.
            UnreachableError: there was none.
        """
        sent = {**(headers or {}), "Content-Type": "application/json", "Accept": accept}
        if self.token is not None:
            sent["Authorization"] = f"Bearer {self.token}"
        body = json.dumps(payload).encode("utf-8")
        for attempt in range(self.retries + 1):
            answer = exchange(
                f"{self.base_url}/predictions/{MODEL_NAME}",
                method="POST",
                body=body,
                headers=sent,
                timeout_s=self.timeout_s,
            )
            if answer.status != 503 or attempt == self.retries:
                break
            self._sleep(pause_s(attempt, answer.headers.get("retry-after", "")))
        if answer.status >= 400:
            raise refusal(answer)
        return answer


class AsyncSnganClient:
    """The same for programs that use asyncio: each request waits in a thread of its own, and blocks nobody.

    `limit` requests are under way at most; more wait here, not in the server's queue.
    """

    def __init__(self, base_url: str, timeout_s: float = 60.0, limit: int = 16, **settings: Any) -> None:
        """`settings` are those of `SnganClient`."""
        self._client = SnganClient(base_url, timeout_s=timeout_s, **settings)
        self._free = asyncio.Semaphore(limit)

    async def images(self, **fields: Any) -> bytes:
        """As `SnganClient.images`."""
        async with self._free:
            return await asyncio.to_thread(self._client.images, **fields)

    async def request(
        self, payload: Mapping[str, Any], accept: str = "*/*", headers: Mapping[str, str] | None = None
    ) -> Answer:
        """As `SnganClient.request`."""
        async with self._free:
            return await asyncio.to_thread(self._client.request, payload, accept, headers)


def pause_s(attempt: int, retry_after: str = "") -> float:
    """How long to wait before coming back: a random part of a pause that doubles with each attempt, from 0.

    A server (or the proxy before it) that says how long in Retry-After is waited for, up to `LONGEST_PAUSE_S`.
    """
    longest = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**attempt)
    told = float(retry_after) if retry_after.isascii() and retry_after.isdigit() else 0.0
    return min(LONGEST_PAUSE_S, told) + random.uniform(0.0, longest)
