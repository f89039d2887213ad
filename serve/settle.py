"""Wait until a server has answered what it has accepted.

TorchServe tells how many requests wait in a model's queue; a worker's mark tells that it is at work
(`handlers.busy`). Between the two, and from the worker to the client, a request is unseen for a moment: so quiet
counts only if it lasts. Requests that keep coming keep a server busy: a proxy, or whoever sends them, must stop first.
"""

from __future__ import annotations

import time
from pathlib import Path

from handlers.busy import is_busy
from serve.errors import UnreachableError
from serve.management import Management

POLL_S = 0.05
# Handing a request from the queue to a worker, and an answer from the worker to the client, takes 1 ms or so.
QUIET_S = 0.2


def settle(management: Management, busy_file: Path, limit_s: float, version: str | None = None) -> bool:
    """Return True once `version`, or the default one, has had nothing to do for a while; False after `limit_s`.

    Args:
        management: of the server. Where it does not answer, nothing is known, and False comes at once.
        busy_file: what the version's workers lock while they work.
        limit_s: how long to wait at most.
        version: None is the default version.
    """
    deadline = time.monotonic() + limit_s
    quiet_since: float | None = None
    while True:
        try:
            state = management.state(version)
            quiet = state is None or (state.waiting == 0 and not is_busy(busy_file))
        except (UnreachableError, OSError):
            return False
        now = time.monotonic()
        quiet_since = (quiet_since or now) if quiet else None
        if quiet_since is not None and now - quiet_since >= QUIET_S:
            return True
        if now >= deadline:
            return False
        time.sleep(POLL_S)
