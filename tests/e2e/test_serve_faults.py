"""What a running `sngan serve` does when workers are killed, the queue is full, the disk is full, or it must end."""

from __future__ import annotations

import asyncio
import collections
import concurrent.futures
import contextlib
import json
import re
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from serve.capacity import LARGEST_BATCH, cores
from serve.client import SnganClient
from serve.config import ServeConfig
from serve.errors import UnreachableError
from serve.exchange import Answer, exchange
from serve.health import healthcheck

if TYPE_CHECKING:
    from tests.e2e.conftest import Serving

pytest.importorskip("ts")
pytestmark = pytest.mark.torchserve

ANSWER_S = 60.0
# Of the requests that TorchServe was gathering for a worker that is killed: it never answers those.
STREAM_ANSWER_S = 20.0
# Until TorchServe sees that a killed worker's socket is closed it may still give it requests.
NOTICED_S = 0.25
QUEUE = ServeConfig().queue_size
RECEIVED = re.compile(r"^ts_inference_requests_total\{.*\} (\S+)$", re.MULTILINE)
# What is promised on a machine with nothing else to do; tests allow `busy_factor` times as much.
READY_AGAIN_S = 5.0
REFUSED_S = 0.5
ENDED_S = 10.0
ENDED_AT_ONCE_S = 2.0
LEAKS = re.compile(rb"Traceback|\.py\b|/tmp|/store|/home|site-packages|\bjava\.|io\.netty|org\.pytorch|at line")
MANY_IMAGES = b'{"n": 64, "seed": 1}'  # some 30 ms of a worker
SLOW = b'{"n": 64, "seed": 1, "format": "webp", "scale": 8}'  # some 0.3 s, most of it to encode a million pixels


@pytest.fixture(scope="module")
def serving(serve_command: Callable[..., Any], digits_mar: Path) -> Iterator[Serving]:
    with serve_command(digits_mar) as running:
        yield running


def ready_workers(serving: Serving) -> set[int]:
    """Process numbers of the workers that TorchServe calls READY."""
    [state] = json.loads(exchange(f"{serving.management_url}/models/sngan", timeout_s=ANSWER_S).body)
    return {int(worker["pid"]) for worker in state["workers"] if worker["status"] == "READY"}


class Stream(threading.Thread):
    """Asks one request after the other until it is told to end; keeps (when it was sent, what came) of each."""

    def __init__(self, serving: Serving) -> None:
        super().__init__(daemon=True)
        self.results: list[tuple[float, Answer | UnreachableError]] = []
        self.ended = threading.Event()
        self._serving = serving

    def run(self) -> None:
        while not self.ended.is_set():
            sent = time.monotonic()
            try:
                self.results.append((sent, self._serving.post(b'{"n": 4, "seed": 1}', timeout_s=STREAM_ANSWER_S)))
            except UnreachableError as error:
                self.results.append((sent, error))


@pytest.mark.parametrize("killed_together", [1, cores()])
def test_kill_9_of_workers_under_load(
    serving: Serving,
    killed_together: int,
    wait_for: Callable[..., float],
    report: Callable[[str], None],
    busy_factor: Callable[[], float],
) -> None:
    """A worker holds one batch; that may fail, and no other may, neither those that wait nor those that come."""
    streams = [Stream(serving) for _ in range(3 * LARGEST_BATCH)]
    for stream in streams:
        stream.start()
    time.sleep(1.0)
    killed = serving.workers[:killed_together]
    for worker in killed:
        worker.kill()
    noticed = time.monotonic() + NOTICED_S
    gone = {worker.pid for worker in killed}
    seconds = wait_for(lambda: len(ready_workers(serving) - gone) == cores(), "the new workers")
    time.sleep(1.0)
    for stream in streams:
        stream.ended.set()
    for stream in streams:
        stream.join(ANSWER_S)
    results = [result for stream in streams for result in stream.results]
    failed = [(sent, what) for sent, what in results if not isinstance(what, Answer) or what.status != 200]
    later = sum(sent > noticed for sent, _ in results)
    statuses = collections.Counter(what.status if isinstance(what, Answer) else str(what) for _, what in failed)
    report(
        f"{killed_together} of {cores()} killed under {len(streams)} streams: ready again after {seconds:.1f} s; "
        f"{len(failed)} of {len(results)} requests failed ({dict(statuses)}), none of the {later} sent later"
    )
    assert len(failed) <= killed_together * LARGEST_BATCH, failed
    for sent, what in failed:
        assert sent < noticed
        if isinstance(what, Answer):
            assert what.status in (500, 507)
            assert LEAKS.search(what.body) is None
    assert later > 0
    assert seconds < READY_AGAIN_S * busy_factor()
    assert healthcheck(serving.base_url, serving.management_url, deep=True, timeout_s=ANSWER_S).ready


@contextlib.contextmanager
def held_up(serving: Serving) -> Iterator[None]:
    """No worker does anything meanwhile, so that a queue fills up however fast they are."""
    workers = serving.workers
    for worker in workers:
        worker.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for worker in workers:
            worker.send_signal(signal.SIGCONT)


async def ask_raw(port: int, body: bytes) -> tuple[int, bytes, float]:
    """The answer's status, its body, and the seconds until its first byte came."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST /predictions/sngan HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    started = time.monotonic()
    first = await reader.readexactly(1)
    seconds = time.monotonic() - started
    head = first + await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"\r\ncontent-length: (\d+)\r\n", head)
    assert length is not None
    content = await reader.readexactly(int(length[1]))
    writer.close()
    with contextlib.suppress(ConnectionResetError):  # which is how TorchServe closes after a 503
        await writer.wait_closed()
    return int(head.split()[1]), content, seconds


def test_a_full_queue_refuses_at_once(
    serving: Serving, report: Callable[[str], None], busy_factor: Callable[[], float]
) -> None:
    async def ask_all() -> list[tuple[int, bytes, float]]:
        tasks = [asyncio.create_task(ask_raw(serving.port, MANY_IMAGES)) for _ in range(3 * QUEUE)]
        with held_up(serving):
            await asyncio.wait(tasks, timeout=ANSWER_S, return_when=asyncio.FIRST_COMPLETED)
        return await asyncio.gather(*tasks)

    answers = asyncio.run(ask_all())
    accepted = [seconds for status, body, seconds in answers if status == 200 and body.startswith(b"\x89PNG")]
    refused = [(body, seconds) for status, body, seconds in answers if status == 503]
    assert len(accepted) >= QUEUE
    assert len(refused) == len(answers) - len(accepted) > 0
    slowest = max(seconds for _, seconds in refused)
    report(
        f"{len(answers)} at once: {len(accepted)} answered within {max(accepted):.2f} s, "
        f"{len(refused)} refused with 503 within {slowest:.3f} s"
    )
    assert slowest < REFUSED_S * busy_factor()
    assert all(LEAKS.search(body) is None for body, _ in refused)


def test_clients_that_were_turned_away_come_back_and_finish(
    serving: Serving, wait_for: Callable[..., float], report: Callable[[str], None]
) -> None:
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        time.sleep(seconds)

    # Twice the usual retries: on a busy machine half the queue may take longer than the usual six pauses together.
    client = SnganClient(serving.base_url, timeout_s=ANSWER_S, retries=12, sleep=sleep)
    started = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(2 * QUEUE) as pool:
        with held_up(serving):
            asked = [pool.submit(client.images, n=16, seed=seed) for seed in range(2 * QUEUE)]
            wait_for(lambda: pauses, "the first refusal")
        pictures = [answer.result() for answer in asked]
    report(f"{len(pictures)} clients at once: {len(pauses)} times 503, all done in {time.monotonic() - started:.1f} s")
    assert len(set(pictures)) == 2 * QUEUE


def test_long_answers_at_once_cost_no_worker(serving: Serving, report: Callable[[str], None]) -> None:
    """3 MiB each, some 50 MiB a batch: more than a batch's answers may be together, so some come again."""
    before = {worker.pid for worker in serving.workers}
    client = SnganClient(serving.base_url, timeout_s=ANSWER_S, retries=30)
    fields = {"inputs": [], "parameters": {"n": 64, "seed": 1, "scale": 8}}  # a million numbers as text
    rejected = re.compile(r'^sngan_rejections_total\{reason="AnswersTooLarge",.* (\S+)$', re.MULTILINE)
    with concurrent.futures.ThreadPoolExecutor(3 * LARGEST_BATCH) as pool:
        answers = list(pool.map(lambda _: client.request(fields).body, range(3 * LARGEST_BATCH)))
    assert len(answers[0]) > 3 * 2**20
    assert set(answers) == {answers[0]}
    assert {worker.pid for worker in serving.workers} == before
    counts = rejected.findall(exchange(serving.metrics_url, timeout_s=ANSWER_S).body.decode())
    peak = max(worker.memory_info().rss for worker in serving.workers) / 2**20
    report(
        f"{len(answers)} answers of 3 MiB asked for at once: put off {sum(map(float, counts)):.0f} times; "
        f"a worker held {peak:.0f} MiB after it"
    )
    assert counts


def send(
    serving: Serving, body: bytes, count: int, wait_for: Callable[..., float]
) -> list[concurrent.futures.Future[Answer]]:
    """Ask `count` times at once, and return when all have been accepted."""

    def received() -> float:
        metrics = exchange(serving.metrics_url, timeout_s=ANSWER_S).body.decode()
        return sum(float(number) for number in RECEIVED.findall(metrics))

    before = received()
    pool = concurrent.futures.ThreadPoolExecutor(count)
    answers = [pool.submit(serving.post, body) for _ in range(count)]
    pool.shutdown(wait=False)
    wait_for(lambda: received() >= before + count, "the requests")
    return answers


def test_sigterm_answers_all_and_ends_in_time(
    serving: Serving,
    wait_for: Callable[..., float],
    is_gone: Callable[[psutil.Process], bool],
    report: Callable[[str], None],
    busy_factor: Callable[[], float],
) -> None:
    """Keep it the last with this server: it ends it."""
    family = psutil.Process(serving.process.pid).children(recursive=True)
    answers = send(serving, SLOW, 20, wait_for)
    started = time.monotonic()
    serving.process.send_signal(signal.SIGTERM)
    assert [answer.result().status for answer in answers] == [200] * len(answers)
    assert serving.process.wait(ANSWER_S) == 0
    seconds = time.monotonic() - started
    report(f"SIGTERM with {len(answers)} requests accepted: all answered, ended after {seconds:.1f} s")
    assert seconds < ENDED_S * busy_factor()
    assert all(is_gone(member) for member in family)
    assert list(serving.folder.iterdir()) == []


def test_a_second_ctrl_c_ends_it_at_once(
    serve_command: Callable[..., Any],
    digits_mar: Path,
    wait_for: Callable[..., float],
    is_gone: Callable[[psutil.Process], bool],
    report: Callable[[str], None],
    busy_factor: Callable[[], float],
) -> None:
    with serve_command(digits_mar) as serving:
        family = psutil.Process(serving.process.pid).children(recursive=True)
        answers = send(serving, SLOW, 90, wait_for)
        serving.process.send_signal(signal.SIGINT)
        wait_for(lambda: "stopping" in serving.said[-1], "the first Ctrl-C")
        time.sleep(0.7)
        assert serving.process.poll() is None
        started = time.monotonic()
        serving.process.send_signal(signal.SIGINT)
        assert serving.process.wait(ANSWER_S) == 130
        seconds = time.monotonic() - started
        unanswered = sum(answer.exception() is not None for answer in answers)
        report(f"second Ctrl-C: ended after {seconds:.2f} s, {unanswered} of {len(answers)} requests cut off")
        assert seconds < ENDED_AT_ONCE_S * busy_factor()
        assert unanswered > 0
        assert all(is_gone(member) for member in family)
        assert list(serving.folder.iterdir()) == []
    assert serving.said[-1] == "stopped at once; what was under way is cut off\n"


def test_a_disk_that_fills_up_stops_no_answer(
    serve_command: Callable[..., Any], tiny_generator_onnx: Path, wait_for: Callable[..., float]
) -> None:
    """/dev/full is a file on a full disk; for all others the kernel refuses the running processes any growth."""
    with serve_command(tiny_generator_onnx, "--access-log=/dev/full", "--workers=1") as serving:
        picture = serving.post(b'{"seed": 1}').body
        wait_for(lambda: "access log cannot be written" in "".join(serving.said), "the remark")
        for process in (psutil.Process(serving.process.pid), serving.java, *serving.workers):
            process.rlimit(resource.RLIMIT_FSIZE, (0, 0))
        old = serving.workers[0]
        old.kill()  # the new one starts without writing too
        wait_for(lambda: ready_workers(serving) - {old.pid}, "the new worker")
        for _ in range(20):
            answer = serving.post(b'{"seed": 1}')
            assert (answer.status, answer.body) == (200, picture)
        assert serving.post(b'{"clas": 1}').status == 400
        answers = send(serving, b'{"n": 64, "scale": 8, "seed": 1, "format": "webp"}', 8, wait_for)
        serving.process.send_signal(signal.SIGTERM)
        assert [answer.result().status for answer in answers] == [200] * len(answers)
        assert serving.process.wait(ANSWER_S) == 0
        assert list(serving.folder.iterdir()) == []
    assert not [line for line in serving.said if "Traceback" in line or line.startswith("\tat ")]
    assert "".join(serving.said).count("access log cannot be written") <= 2, "said once by each worker"
