"""Is a server ready? TorchServe's own /ping says "Healthy" before, between and without working workers.

The truth is the management port's list of workers, and, deeper, an image that is really drawn.
"""

from __future__ import annotations

import dataclasses
import json

from serve.config import MODEL_NAME
from serve.errors import UnreachableError
from serve.exchange import exchange

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Health:
    """What was found.

    Attributes:
        ready: a request would be answered now.
        reason: one line for people.
        workers: the workers' statuses, such as ("READY",).
    """

    ready: bool
    reason: str
    workers: tuple[str, ...] = ()


def healthcheck(base_url: str, management_url: str, deep: bool = False, timeout_s: float = 10.0) -> Health:
    """Ask the server at `management_url`, and with `deep` draw one image at `base_url` too. Never raises.

    Args:
        base_url: of the inference port; only `deep` uses it.
        management_url: of the management port.
        deep: also ask for an image. It waits in the queue like any other request.
        timeout_s: for each of the two questions.
    """
    try:
        workers = worker_statuses(management_url, timeout_s)
        if "READY" not in workers:
            listed = ", ".join(workers) or "none"
            return Health(ready=False, reason=f"no worker is READY (workers: {listed})", workers=workers)
        if not deep:
            return Health(ready=True, reason=f"{workers.count('READY')} worker(s) READY", workers=workers)
        answer = exchange(
            f"{base_url}/predictions/{MODEL_NAME}",
            method="POST",
            body=b'{"n": 1, "seed": 0, "format": "png"}',
            headers={"Content-Type": "application/json"},
            timeout_s=timeout_s,
        )
    except UnreachableError as error:
        return Health(ready=False, reason=str(error))
    if answer.status == 200 and answer.body.startswith(PNG_SIGNATURE):
        return Health(ready=True, reason=f"drew an image of {len(answer.body)} bytes", workers=workers)
    return Health(ready=False, reason=f"an image was answered with HTTP {answer.status}", workers=workers)


def worker_statuses(management_url: str, timeout_s: float) -> tuple[str, ...]:
    """The status of every worker; empty when there is none or the model is not registered.

    Raises:
        UnreachableError: nothing that looks like TorchServe's management answered.
    """
    url = f"{management_url}/models/{MODEL_NAME}"
    answer = exchange(url, timeout_s=timeout_s)
    if answer.status == 404:
        return ()
    try:
        return tuple(str(worker["status"]) for version in json.loads(answer.body) for worker in version["workers"])
    except (ValueError, TypeError, LookupError) as error:
        raise UnreachableError(f"{url}: HTTP {answer.status}, which is not TorchServe's answer") from error
