"""`sngan reload`: put a new model into a running server without dropping a request.

The new version's workers start beside the old one's; only when one of them has drawn an image does it become the
default, and only when the old one has answered all it had does that go. Whatever fails before that leaves the old
one as it was. Both are in memory for a moment.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from serve import tokens
from serve.config import MODEL_NAME
from serve.errors import ManagementError, ReloadError, ServeError
from serve.exchange import exchange
from serve.health import PNG_SIGNATURE
from serve.management import Management
from serve.model_folder import busy_file, prepare
from serve.record import ServerRecord, find, read
from serve.server_log import failure_reason
from serve.settle import settle

WORKERS_LOG = "logs/workers.log"  # as in config_files.log4j2_xml
OLD_ANSWERS_S = 120.0  # the limit of one batch: no worker holds a request for longer
PROBE_S = 60.0


def reload(source: Path, management_url: str, say: Callable[[str], None]) -> str:
    """Let the server at `management_url` serve `source` from now on; the version that TorchServe gives it.

    Args:
        source: a `.mar` archive (its code is run) or a generator `.onnx` file.
        management_url: of a server of this user on this machine, started with `--reloadable`.
        say: is told what happens, line by line.

    Raises:
        ReloadError: there is no such server, or the new model did not come up; the old one serves as before.
        ModelFileError: `source` cannot be served.
    """
    record = find(management_url)
    if record is None:
        raise ReloadError(
            f"no server of yours has its management at {management_url}; run this on the same machine, as the same "
            "user and with the same TMPDIR, and give --management-url if its port is not 8081"
        )
    if not record.config.reloadable:
        raise ReloadError("this server was started without --reloadable; start it with it, or anew with the new file")
    with _alone(record):
        record = read(record.folder)  # another reload may have ended while we looked
        if record is None or record.stopping:
            raise ReloadError("the server is stopping")
        return _swap(source, record, management_url, say)


def _swap(source: Path, old: ServerRecord, management_url: str, say: Callable[[str], None]) -> str:
    config = old.config
    management = Management(url=management_url, folder=old.folder)
    new = dataclasses.replace(old, source=str(source), model=_free_name(old.store))
    registered = recorded = False
    try:
        model = prepare(source, old.store, config, new.model, versions=(old.version,))
        new = dataclasses.replace(new, version=model.version)
        say(f"starting {config.workers} worker(s) with {source} as version {new.version}")
        registered = True
        read_before = _log_size(old.folder)
        try:
            management.register(new.model, config.workers, config.startup_timeout_s + PROBE_S)
        except ManagementError as error:
            raise ReloadError(_reason(old.folder, read_before) or str(error)) from error
        _draw_one(new, management_url)
        new.write()  # on a full disk this fails, and nothing has changed yet
        recorded = True
        management.set_default(new.version)
    except BaseException as error:
        # Ctrl-C too: a half-started version would hold its memory as long as the server lives.
        if registered:
            with contextlib.suppress(ServeError):
                management.unregister(new.version)
        _remove(old.store, new.model)
        if recorded:
            with contextlib.suppress(OSError):
                old.write()
        if isinstance(error, (ServeError, OSError)):
            raise ReloadError(f"{error}; version {old.version} still serves") from error
        raise
    say(f"version {new.version} answers; waiting for version {old.version} to end what it has")
    if not settle(management, busy_file(old.store, old.model), OLD_ANSWERS_S, old.version):
        say(f"version {old.version} is still at work after {OLD_ANSWERS_S:g} s, it is cut off")
    try:
        management.unregister(old.version)
    except ServeError as error:
        raise ReloadError(
            f"version {new.version} serves, but version {old.version} could not be removed: {error}"
        ) from error
    _remove(old.store, old.model)
    return new.version


def _log_size(folder: Path) -> int:
    try:
        return (folder / WORKERS_LOG).stat().st_size
    except OSError:
        return 0


def _reason(folder: Path, read_before: int) -> str | None:
    """Why a worker did not load the new model, out of what workers have printed since; None if that is not there."""
    try:
        with (folder / WORKERS_LOG).open("rb") as log:
            log.seek(min(read_before, _log_size(folder)))
            lines = log.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return None
    reason = failure_reason(lines)
    return None if reason is None else f"a worker did not load the model: {reason}"


def _draw_one(record: ServerRecord, management_url: str) -> None:
    """Let the new version draw an image before anybody depends on it."""
    answer = exchange(
        f"{record.config.base_url}/predictions/{MODEL_NAME}/{record.version}",
        method="POST",
        body=b'{"n": 1, "seed": 0, "format": "png"}',
        headers={
            "Content-Type": "application/json",
            **tokens.headers(record.folder, management_url, "inference", PROBE_S),
        },
        timeout_s=PROBE_S,
    )
    if answer.status != 200 or not answer.body.startswith(PNG_SIGNATURE):
        raise ReloadError(f"the new model answered a first request with HTTP {answer.status}")


def _free_name(store: Path) -> str:
    """A name for a new model folder: "sngan-2" and so on."""
    number = 2
    while (store / f"{MODEL_NAME}-{number}").exists() or busy_file(store, f"{MODEL_NAME}-{number}").exists():
        number += 1
    return f"{MODEL_NAME}-{number}"


def _remove(store: Path, name: str) -> None:
    """Remove the model folder; its mark stays, so that the name is not used again."""
    shutil.rmtree(store / name, ignore_errors=True)


@contextlib.contextmanager
def _alone(record: ServerRecord) -> Iterator[None]:
    """One reload of a server at a time."""
    with (record.folder / "reload.lock").open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ReloadError("another reload of this server is under way") from error
        yield
