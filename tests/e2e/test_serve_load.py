"""Ten thousand requests of every kind to `sngan serve` as it is by default: each gets the answer that it gets alone."""

from __future__ import annotations

import collections
import dataclasses
import http.client
import itertools
import json
import random
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from handlers import openapi
from handlers.answering import Call, answer_all
from handlers.metadata import GeneratorMetadata
from handlers.request import FIELDS
from handlers.session import GeneratorSession
from serve.capacity import cores
from serve.unpack import unpack

if TYPE_CHECKING:
    from tests.e2e.conftest import Serving

pytest.importorskip("ts")
jsonschema = pytest.importorskip("jsonschema")
pytestmark = pytest.mark.torchserve

REQUESTS = 10_000
BAD = REQUESTS // 10
GOOD_KINDS = 200
CONCURRENCY = 32
ANSWER_S = 60.0
NO_LIMIT_BYTES = 10**9
MOST_GROWTH = 0.05  # of a process's memory over the second half of the requests: from its first fifth to its last
# Java compiles and takes memory during the first pass; later it grows and shrinks by some 5 % as it collects its
# garbage, so a pass that grew is looked at again. A leak grows in each.
MOST_PASSES = 4
SAMPLE_S = 0.1
JSON = (("Content-Type", "application/json"),)
MODEL = "/predictions/sngan"
# At least one of these breaks each rule that the schema has for a field.
CANDIDATES: tuple[Any, ...] = (
    None, True, -1, 0, 1, 1.5, 10, 33, 65, 101, 2**32, 10**400, "", "zebra", "1", "png", {}, {"n": 1},
    [], [None], [-1], [10], ["zebra"], [[]], [[0.0]], [[101.0] * 128], [["0"] * 128], [0] * 65, [{}], [{"n": 0}],
)  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sent:
    """A request, the status that it must have, and the body if it is good."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = JSON
    path: str = MODEL
    answer: bytes | None = None


@pytest.fixture(scope="module")
def session(digits_mar: Path, tmp_path_factory: pytest.TempPathFactory) -> GeneratorSession:
    folder = tmp_path_factory.mktemp("unpacked")
    unpack(digits_mar, folder)
    return GeneratorSession(folder / "generator.onnx", provider="cpu", threads=1)


def good_requests(session: GeneratorSession) -> list[Sent]:
    """`GOOD_KINDS` of them, all different, with the bodies that the handler gives without a server."""
    chosen = random.Random(1)
    requests = []
    for seed, format in zip(range(GOOD_KINDS), itertools.cycle(("png", "jpeg", "webp", "zip", "npy", "json"))):
        n = chosen.choice((1, 1, 1, 1, 1, 2, 2, 3, 4, 16 if seed % 3 == 0 else 1))
        fields: dict[str, Any] = {"n": n, "seed": seed, "format": format}
        fields["class"] = chosen.choice([None, 3, "7", [5], [index % 10 for index in range(n)]])
        fields["truncation"] = chosen.choice([None, 0.5, 2])
        if seed % 5 == 0:
            del fields["seed"], fields["truncation"]
            fields["class"], fields["z"] = 1, [[chosen.uniform(-2, 2) for _ in range(session.metadata.latent_dim)]] * n
        if format in ("jpeg", "webp"):
            fields["quality"] = chosen.randint(1, 100)
        if format in ("png", "jpeg", "webp") and n > 1:
            fields |= {"columns": chosen.randint(1, n), "padding": chosen.randint(0, 4)}
        if format in ("zip", "json"):
            fields |= {"image_format": chosen.choice(["png", "webp"]), "return_z": chosen.random() < 0.3}
        fields["scale"] = chosen.choice([1, 1, 2])
        body: dict[str, Any] = fields
        if seed % 10 == 1:
            body = {"instances": [{"seed": seed}, {"class": 2, "n": n, "seed": seed}]}
        elif seed % 10 == 2:
            label = {"name": "label", "shape": [n], "datatype": "INT64", "data": [4] * n}
            body = {"inputs": [label], "parameters": {"seed": seed}, "outputs": [{"name": chosen.choice(["png"])}]}
        content = json.dumps(body).encode()
        call = Call(data={"body": content}, headers={"content-type": "application/json"})
        [answer] = answer_all([call], session, NO_LIMIT_BYTES)
        assert answer.status == 200, answer.body
        requests.append(Sent(status=200, body=content, answer=answer.body))
    assert len({request.body for request in requests}) == GOOD_KINDS
    return requests


def bad_requests(metadata: GeneratorMetadata) -> list[Sent]:
    """What the OpenAPI document forbids, field by field, and what docs/serve.md says of the rest."""
    document = openapi.document(metadata)

    def forbidden(body: Any) -> bool:
        names = ("Image", "V1", "V2")
        schema = {"anyOf": [{"$ref": f"#/components/schemas/{name}Request"} for name in names]}
        validator = jsonschema.Draft202012Validator({**schema, "components": document["components"]})
        return not validator.is_valid(body)

    def with_status(status: int, *bodies: Any) -> Iterator[Sent]:
        for body in bodies:
            yield Sent(status=status, body=json.dumps(body).encode())

    tensor = {"name": "label", "shape": [1], "datatype": "INT64", "data": [3]}
    envelopes = {
        "instances": {},
        "inputs": {},
        "parameters": {"inputs": []},
        "outputs": {"inputs": []},
        "id": {"inputs": []},
    }
    wrong = [{field: value} for field in FIELDS for value in CANDIDATES]
    wrong += [{"instances": [body]} for body in wrong[::7]]
    wrong += [{**others, field: value} for field, others in envelopes.items() for value in CANDIDATES]
    wrong += [{"inputs": [{**tensor, field: value}]} for field in tensor for value in CANDIDATES if field != "data"]
    wrong = [body for body in wrong if forbidden(body)]
    unknown = [{misspelt: 1} for field in FIELDS for misspelt in (field + "s", field.upper(), field[:-1] + "é")]
    without_effect = [
        {"quality": 50}, {"format": "npy", "quality": 50}, {"image_format": "png"}, {"columns": 1}, {"return_z": True},
        {"format": "zip", "layout": "grid"}, {"n": 2, "layout": "single"}, {"format": "json", "padding": 0},
        {"z": [[0] * 128], "seed": 1}, {"z": [[0] * 128], "truncation": 1}, {"class": [1, 2], "n": 3},
        {"n": 1, "columns": 2}, {"z": [[0] * 127]}, {"z": [[0] * 128] * 2, "n": 3}, {"inputs": [tensor, tensor]},
        {"inputs": [{**tensor, "data": [1, 2]}]}, {"inputs": [{**tensor, "data": ["3"]}]},
    ]  # fmt: skip
    malformed = (
        b"{", b"nothing", b"\xff\xfe", b"[" * 50_000, b"[1]", b"1", b"null", b'"n"', b'{"n": NaN}',
        b'{"n": -Infinity}', b'{"n": 1, "n": 1}', b'{"n": 1' + b"0" * 5000 + b"}", b"{'n': 1}", b'{"n": 1,}',
        b'{"n": 1} {}', b"n=1", b"\0" * 9,
    )  # fmt: skip
    types = ("application/x-www-form-urlencoded", "image/png", "application/xml", "text/html")
    accepts = ("text/html", "image/gif", "image/png;q=0", "image/*;q=2")
    return [
        *with_status(422, *wrong, *without_effect),
        *with_status(400, *unknown, *({"instances": [body]} for body in unknown[::3]), {"inputs": [], "x": 1}),
        *(Sent(status=400, body=body) for body in malformed),
        *(Sent(status=415, body=b'{"n": 1}', headers=(("Content-Type", one),)) for one in types),
        *(Sent(status=406, headers=(("Accept", one),)) for one in accepts),
        *(Sent(status=404, path=path) for path in ("/predictions/other", f"{MODEL}/9.9", "/models/sngan", "/metrics")),
        Sent(status=413, body=b" " * (2**20 + 1)),
    ]


class Client(threading.Thread):
    """Takes requests from an iterator that many share, and compares; some keep their connection."""

    def __init__(self, port: int, requests: Iterator[Sent], keeps: bool, lock: threading.Lock) -> None:
        super().__init__(daemon=True)
        self.statuses: collections.Counter[int] = collections.Counter()
        self.wrong: list[str] = []
        self.images = 0
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_S)
        self._requests, self._keeps, self._lock = requests, keeps, lock

    def run(self) -> None:
        while True:
            with self._lock:
                sent = next(self._requests, None)
            if sent is None:
                break
            try:
                self._ask(sent)
            except (OSError, http.client.HTTPException) as error:
                self.wrong.append(f"{error!r} in place of {sent.status} to {sent.body[:100]!r}")
                self._connection.close()
        self._connection.close()

    def _ask(self, sent: Sent) -> None:
        self._connection.request("POST", sent.path, body=sent.body, headers=dict(sent.headers))
        answer = self._connection.getresponse()
        body = answer.read()
        if not self._keeps:
            self._connection.close()
        self.statuses[answer.status] += 1
        self.images += int(answer.headers.get("X-SNGAN-Count", 0))
        if answer.status != sent.status:
            self.wrong.append(f"{answer.status} in place of {sent.status} to {sent.body[:100]!r}: {body[:300]!r}")
        # JSON answers name the request, which is the one thing in them that differs each time.
        elif sent.answer is not None and sent.answer != body.replace(answer.headers["x-request-id"].encode(), b"", 1):
            self.wrong.append(f"another body to {sent.body[:100]!r}: {body[:100]!r}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pass:
    """What came of `REQUESTS` requests, and bytes of memory by process: in the first tenth, the sixth and the last."""

    seconds: float
    wrong: list[str]
    statuses: collections.Counter[int]
    images: int
    memory: dict[str, tuple[float, float, float]]

    @property
    def growth(self) -> float:
        """Of the process that grew most over the second half."""
        return max(last / middle - 1 for _, middle, last in self.memory.values())


def send_all(port: int, requests: list[Sent], processes: dict[str, psutil.Process]) -> Pass:
    """All `requests`, `CONCURRENCY` at once."""
    shared, lock = iter(requests), threading.Lock()
    clients = [Client(port, shared, keeps=index % 2 == 0, lock=lock) for index in range(CONCURRENCY)]
    samples: list[tuple[int, dict[str, int]]] = []
    started = time.monotonic()
    for client in clients:
        client.start()
    while any(client.is_alive() for client in clients):
        done = sum(client.statuses.total() for client in clients)
        samples.append((done, {name: process.memory_info().rss for name, process in processes.items()}))
        time.sleep(SAMPLE_S)

    def about(name: str, low: float) -> float:
        return statistics.median(sizes[name] for done, sizes in samples if low <= done / len(requests) <= low + 0.1)

    return Pass(
        seconds=time.monotonic() - started,
        wrong=[line for client in clients for line in client.wrong],
        statuses=sum((client.statuses for client in clients), collections.Counter[int]()),
        images=sum(client.images for client in clients),
        memory={name: (about(name, 0.0), about(name, 0.5), about(name, 0.9)) for name in processes},
    )


def test_ten_thousand_mixed_requests(
    serve_command: Callable[..., Any],
    digits_mar: Path,
    session: GeneratorSession,
    report: Callable[[str], None],
) -> None:
    good, bad = good_requests(session), bad_requests(session.metadata)
    assert len(bad) <= BAD
    requests = [good[index % len(good)] for index in range(REQUESTS - BAD)]
    requests += [bad[index % len(bad)] for index in range(BAD)]
    random.Random(2).shuffle(requests)
    with serve_command(digits_mar) as serving:
        server: Serving = serving
        workers = server.workers
        assert len(workers) == cores(), "one worker for each core"
        processes = {"java": server.java, **{f"worker {index + 1}": one for index, one in enumerate(workers)}}
        for number in range(MOST_PASSES):
            found = send_all(server.port, requests, processes)
            report(
                f"{REQUESTS} requests, {len(good)} good and {len(bad)} bad kinds, {CONCURRENCY} at once: "
                f"{found.images} images in {found.seconds:.1f} s, {REQUESTS / found.seconds:.0f} requests/s; "
                f"statuses {dict(sorted(found.statuses.items()))}"
            )
            for name, sizes in found.memory.items():
                told = (size / 2**20 for size in sizes)
                report("{}: {:.1f} MiB in the first tenth, {:.1f} in the sixth, {:.1f} in the last".format(name, *told))
            assert found.wrong == [], f"{len(found.wrong)} wrong answers, such as {found.wrong[:5]}"
            assert found.statuses.total() == REQUESTS
            assert not [status for status in found.statuses if status >= 500]
            assert [worker.pid for worker in server.workers] == [worker.pid for worker in workers], "a worker died"
            if number > 0 and found.growth < MOST_GROWTH:
                break
        assert found.growth < MOST_GROWTH, found.memory
