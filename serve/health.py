"""Is a server ready? TorchServe's own /ping says "Healthy" before, between and without working workers.

The truth is the management port's list of workers, the launcher's word whether it is stopping, and, deeper, an
image that is really drawn.
"""

from __future__ import annotations

import dataclasses

from serve import tokens
from serve.config import MODEL_NAME
from serve.errors import UnreachableError
from serve.exchange import exchange
from serve.management import Management
from serve.record import find

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
        record = find(management_url)
        if record is not None and record.stopping:
            return Health(ready=False, reason="the server is stopping")
        folder = None if record is None else record.folder
        state = Management(url=management_url, folder=folder, timeout_s=timeout_s).state()
        workers = () if state is None else state.workers
        if "READY" not in workers:
            listed = ", ".join(workers) or "none"
            return Health(ready=False, reason=f"no worker is READY (workers: {listed})", workers=workers)
        if not deep:
            return Health(ready=True, reason=f"{workers.count('READY')} worker(s) READY", workers=workers)
        token = {} if folder is None else tokens.headers(folder, management_url, "inference", timeout_s)
        answer = exchange(
            f"{base_url}/predictions/{MODEL_NAME}",
            method="POST",
            body=b'{"n": 1, "seed": 0, "format": "png"}',
            headers={"Content-Type": "application/json", **token},
            timeout_s=timeout_s,
        )
    except UnreachableError as error:
        return Health(ready=False, reason=str(error))
    if answer.status == 200 and answer.body.startswith(PNG_SIGNATURE):
        return Health(ready=True, reason=f"drew an image of {len(answer.body)} bytes", workers=workers)
    return Health(ready=False, reason=f"an image was answered with HTTP {answer.status}", workers=workers)
