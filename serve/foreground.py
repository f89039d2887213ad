"""`sngan serve`: run a server until somebody asks it to stop, and tell the user what goes on."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shlex
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from serve import tokens
from serve.config import ServeConfig
from serve.ending import kill_children
from serve.errors import ServerStoppedError
from serve.launcher import RunningServer, running_server

SIGNALS = (signal.SIGTERM, signal.SIGINT)
SETTLE_S = 5.0
# One press of Ctrl-C may arrive twice: from the terminal, and from make or another wrapper that passes it on.
ONE_PRESS_S = 0.5


class _StopAsked(BaseException):
    """SIGTERM or Ctrl-C arrived. No Exception, so that nothing on the way takes it for a fault."""


@dataclasses.dataclass(kw_only=True)
class _Signals:
    """What has arrived: when the first one did, and whether a Ctrl-C after it cut the stop short."""

    first_at: float | None = None
    hurried: bool = False


def run(source: Path, config: ServeConfig) -> None:
    """Serve `source` until SIGTERM or Ctrl-C; then answer what was accepted, stop all of it and return.

    A further Ctrl-C kills java and its workers, so that nothing is waited for any more.

    Raises:
        ServerStoppedError: TorchServe ended by itself.
        ServeError: it did not start.
        KeyboardInterrupt: a further Ctrl-C came while it was stopping; nothing is left then either.
    """
    signals = _Signals()
    with contextlib.suppress(_StopAsked), _stop_on(signals):
        started = time.monotonic()
        _say(f"starting TorchServe with {source}")
        with running_server(source, config, on_log=_say) as server:
            _say(_introduction(server, time.monotonic() - started))
            try:
                code = server.process.wait()
            except _StopAsked:
                _say("stopping: not ready any more, answering what has been accepted")
                if not server.settle(SETTLE_S) and not signals.hurried:
                    _say(f"requests are still under way after {SETTLE_S:g} s; they are cut off")
                raise
        raise ServerStoppedError(f"TorchServe ended by itself with code {code}; its log is above")
    if signals.hurried:
        _say("stopped at once; what was under way is cut off")
        raise KeyboardInterrupt


@contextlib.contextmanager
def _stop_on(signals: _Signals) -> Iterator[None]:
    """Turn the first SIGTERM or SIGINT into `_StopAsked`; of the others, let a second Ctrl-C hurry the stop.

    It raises nothing, for what is being tidied up must be tidied up to its end. A second SIGTERM is ignored: who sends
    one cannot mean "harder", for which there is SIGKILL.
    """

    def handle(number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if signals.first_at is None:
            signals.first_at = now
            raise _StopAsked
        if number == signal.SIGINT and now - signals.first_at > ONE_PRESS_S:
            signals.hurried = True
            kill_children()

    before = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _introduction(server: RunningServer, seconds: float) -> str:
    """What the user needs to know, and a command to try."""
    metadata, config = server.metadata, server.config
    shape = f"{metadata.width} x {metadata.height} {metadata.color_mode}"
    classes = f"{metadata.num_classes} classes" if metadata.num_classes else "no classes"
    example: dict[str, object] = {"n": 4, "seed": 0}
    if metadata.class_names:
        example = {"class": metadata.class_names[0], **example}
    command = (
        f"curl -o images.png -H 'Content-Type: application/json' "
        f"-d {shlex.quote(json.dumps(example))} {server.predictions_url}"
    )
    if config.token_auth:
        command = command.replace("curl", "curl -H 'Authorization: Bearer KEY'", 1)
    return "\n".join(
        [
            f"model {metadata.name} {metadata.version}: {shape}, {classes}",
            f"Java {server.java.major} ({server.java.found_by}), {config.workers} worker(s) with "
            f"{config.threads_per_worker} thread(s) each, provider {config.provider}",
            f"ready after {seconds:.1f} s at {server.predictions_url}",
            f"management (this machine only): {server.management_url}; metrics: {config.metrics_url}",
            *_about_tokens(server),
            f"try: {command}",
            "stop with Ctrl-C, and at once with a second one",
        ]
    )


def _about_tokens(server: RunningServer) -> list[str]:
    """Where the keys are, what they are worth, and how to renew them; nothing for a server without."""
    if not server.config.token_auth:
        return []
    return [
        f"tokens: {server.folder / tokens.FILE} has the key for predictions as inference/key, void after "
        f"{tokens.EXPIRY_MINUTES} minutes; /ping wants it too; 48 bits, sent unencrypted",
        "another hour: curl -H 'Authorization: Bearer API_KEY' "
        f"'{server.management_url}/token?type=inference', which voids the old key, and read the file again",
    ]


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
