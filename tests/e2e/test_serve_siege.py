"""Strangers who are many, slow, or guess: connections held open, foreign models, wrong tokens."""

from __future__ import annotations

import concurrent.futures
import contextlib
import re
import shutil
import socket
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from serve import tokens
from serve.exchange import Answer, exchange

if TYPE_CHECKING:
    from tests.e2e.conftest import Serving

pytest.importorskip("ts")
pytestmark = pytest.mark.torchserve

ANSWER_S = 60.0
OTHERS_WAIT_S = 1.0  # for an answer of 3 ms, while strangers hold connections; alone on a machine
LEAKS = re.compile(rb"Traceback|\.py\b|/tmp|/store|/home|site-packages|\bjava\.|io\.netty|org\.pytorch|at line")
BODY = b'{"seed": 5}'
WRONG_TOKENS = 500


def head(length: int) -> bytes:
    """Of a request whose body has `length` bytes."""
    return b"POST /predictions/sngan HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % length


@pytest.fixture(scope="module")
def serving(steady_serving: Serving) -> Serving:
    return steady_serving


def test_foreign_models_are_not_registered(serving: Serving, tiny_mar: Path) -> None:
    """--reloadable turns registering on, on loopback, and only of what lies in the server's own folder."""

    def register(url: str) -> Answer:
        target = f"{serving.management_url}/models?url={quote(url, safe='')}&model_name=evil&initial_workers=0"
        return exchange(target, method="POST", timeout_s=ANSWER_S)

    outside = serving.folder / "outside.mar"
    shutil.copyfile(tiny_mar, outside)
    store = next(serving.folder.glob("sngan-serve-*/store"))
    for url in (
        str(outside),
        f"../../{outside.name}",
        f"sngan/../../../{outside.name}",
        outside.as_uri(),
        f"file://{store}/../../{outside.name}",
        "http://127.0.0.1:1/x.mar",
        f"{serving.base_url}/predictions/sngan",
        "s3://bucket/x.mar",
        "",
        ".",
        "..",
    ):
        answer = register(url)
        assert answer.status >= 400, (url, answer)
        assert LEAKS.search(answer.body.replace(url.encode(), b"")) is None, (url, answer)  # it repeats what was sent
    assert b"evil" not in exchange(f"{serving.management_url}/models", timeout_s=ANSWER_S).body
    # The same file is taken where it may be: the refusals above are not for another reason.
    outside.rename(store / "inside.mar")
    assert register("inside.mar").status == 200
    assert exchange(f"{serving.management_url}/models/evil", method="DELETE", timeout_s=ANSWER_S).status == 200


def test_slow_and_idle_connections_keep_nobody_else_waiting(
    serving: Serving, report: Callable[[str], None], busy_factor: Callable[[], float]
) -> None:
    """TorchServe closes none of them; that is the proxy's part. What is tested is that others are answered."""

    def seconds_of_others() -> list[float]:
        taken = []
        for _ in range(25):
            started = time.monotonic()
            assert serving.post(BODY).status == 200
            taken.append(time.monotonic() - started)
        return taken

    alone = seconds_of_others()
    large = b'{"n": 64, "scale": 8, "format": "npy", "seed": 1}'
    with contextlib.ExitStack() as held:

        def connect(count: int) -> list[socket.socket]:
            return [
                held.enter_context(socket.create_connection(("127.0.0.1", serving.port), timeout=ANSWER_S))
                for _ in range(count)
            ]

        idle, heads, bodies, deaf = connect(500), connect(32), connect(32), connect(32)
        for one in bodies:
            one.sendall(head(1000))
        for one in deaf:
            one.sendall(head(len(large)) + large)  # and never reads the answer
        besieged = []
        for byte in b"GET /":
            for one in (*heads, *bodies):
                one.sendall(bytes([byte]))
            round_ends = time.monotonic() + 1.0
            besieged += seconds_of_others()
            time.sleep(max(0.0, round_ends - time.monotonic()))
        for one in (*idle, *heads, *bodies):
            one.setblocking(False)
            with pytest.raises(BlockingIOError):  # neither an answer nor a close
                one.recv(1)
    waits = ", ".join(
        f"{when} {1000 * statistics.median(seconds):.1f} ms, {1000 * max(seconds):.0f} at most"
        for when, seconds in (("others waited", besieged), ("before", alone))
    )
    slow = len(heads) + len(bodies)
    report(f"{len(idle)} idle connections, {slow} that send a byte a second, {len(deaf)} that never read: {waits}")
    assert max(besieged) < OTHERS_WAIT_S * busy_factor()


def test_guessed_tokens_are_refused_and_the_right_one_goes_on_working(
    serve_command: Callable[..., Any], tiny_generator_onnx: Path, report: Callable[[str], None]
) -> None:
    with serve_command(tiny_generator_onnx, "--token-auth", "--workers=1") as serving:
        folder = next(serving.folder.glob("sngan-serve-*"))
        right = tokens.headers(folder, serving.management_url, "inference", ANSWER_S)
        key = right["Authorization"].removeprefix("Bearer ")
        other = "A" if key[-1] != "A" else "B"
        near = [
            key[:-1],
            key + "A",
            key[:-1] + other,
            key.swapcase(),
            f"{key} {key}",
            f"{key},",
            f'"{key}"',
            "",
            "null",
        ]
        wrong = [f"Bearer {token}" for token in near] + [
            key,
            f"Basic {key}",
            f"Token {key}",
            "Bearer",
            f"Bearer\t{key}x",
        ]
        wrong += [f"Bearer {number:08d}" for number in range(WRONG_TOKENS)]
        url = f"{serving.base_url}/predictions/sngan"

        def guess(value: str) -> int:
            answer = exchange(url, headers={"Authorization": value}, timeout_s=ANSWER_S)
            assert LEAKS.search(answer.body) is None
            assert key.encode() not in answer.body
            return answer.status

        started = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            refused = list(pool.map(guess, wrong))
        seconds = time.monotonic() - started
        assert set(refused) <= {400, 403}, dict(zip(wrong, refused, strict=True))
        assert exchange(url, headers=right, timeout_s=ANSWER_S).status == 200
        report(
            f"{len(wrong)} wrong tokens refused, {len(wrong) / seconds:.0f} a second; the right one works after them"
        )
