"""A real TorchServe, one for the whole file: what a client sees, and what is left afterwards."""

from __future__ import annotations

import base64
import concurrent.futures
import contextlib
import importlib.util
import io
import json
import re
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

from handlers import openapi
from handlers.answering import Call, answer_all
from handlers.drawing import draw
from handlers.metadata import GeneratorMetadata
from handlers.request import ImageRequest
from handlers.session import GeneratorSession
from serve.client import RequestRefusedError, SnganClient
from serve.config import PORTS, ServeConfig
from serve.errors import StartError, UnreachableError
from serve.exchange import Answer, exchange
from serve.health import healthcheck
from serve.launcher import RunningServer, running_server

pytest.importorskip("ts")
pytestmark = pytest.mark.torchserve

ROOT = Path(__file__).parent.parent.parent
ANSWER_S = 60.0  # other programs use the machine too
WORKER_BACK_S = 30.0  # TorchServe waits 1 s and starts a worker, which imports torch where it is installed
JSON = {"Content-Type": "application/json"}
NO_LIMIT_BYTES = 10**9
SCHEMATHESIS_EXAMPLES = 10  # an operation
GRPC_METHOD = "/org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions"


def wait_for(condition: Callable[[], bool], limit_s: float) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"nothing happened in {limit_s:g} s"
        time.sleep(0.05)


def is_gone(process: psutil.Process) -> bool:
    """Whether it has ended; a zombie has."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    return True


@pytest.fixture(scope="module")
def log() -> list[str]:
    """The lines that the server showed."""
    return []


@pytest.fixture(scope="module")
def server(tiny_mar: Path, log: list[str]) -> Iterator[RunningServer]:
    # Batches of up to 4 that wait for company: requests sent together really share a batch.
    config = ServeConfig.on_free_ports(provider="cpu", batch_size=4, max_batch_delay_ms=10)
    with running_server(tiny_mar, config, on_log=log.append) as running:
        processes = [psutil.Process(running.pid), *psutil.Process(running.pid).children(recursive=True)]
        assert len(processes) >= 2, "java and a worker"
        yield running
    wait_for(lambda: all(is_gone(process) for process in processes), ANSWER_S)
    assert not running.folder.exists()


@pytest.fixture
def client(server: RunningServer) -> SnganClient:
    return SnganClient(server.base_url, timeout_s=ANSWER_S)


def post(server: RunningServer, body: bytes, headers: dict[str, str] | None = None, method: str = "POST") -> Answer:
    return exchange(
        server.predictions_url,
        method=method,
        body=body,
        headers=JSON if headers is None else headers,
        timeout_s=ANSWER_S,
    )


def expected(session: GeneratorSession, fields: dict[str, Any]) -> bytes:
    """What the server must answer, by the same path without a server: for pictures byte for byte the same."""
    call = Call(data={"body": json.dumps(fields).encode()}, headers={"content-type": "application/json"})
    [answer] = answer_all([call], session, NO_LIMIT_BYTES)
    assert answer.status == 200
    return answer.body


def test_every_class_is_answered_with_its_own_image(
    client: SnganClient, tiny_metadata: GeneratorMetadata, tiny_session: GeneratorSession
) -> None:
    answers = [client.images(class_=name, seed=3) for name in tiny_metadata.class_names]
    assert len(set(answers)) == len(answers)
    for label, png in enumerate(answers):
        assert png == expected(tiny_session, {"class": label, "seed": 3})


def test_the_same_request_gives_the_same_bytes(client: SnganClient) -> None:
    assert client.images(n=5, seed=1, truncation=0.8) == client.images(n=5, seed=1, truncation=0.8)
    assert client.images(n=5, seed=1, truncation=0.8) != client.images(n=5, seed=1, truncation=None)


def test_a_drawn_seed_is_returned_and_repeats_the_image(client: SnganClient) -> None:
    first = client.request({"n": 2})
    seed = int(first.headers["x-sngan-seed"])
    again = client.request({"n": 2, "seed": seed})
    assert again.body == first.body
    assert again.headers["x-sngan-classes"] == first.headers["x-sngan-classes"]
    assert client.request({}).headers["x-sngan-seed"] != str(seed)


def test_headers(client: SnganClient) -> None:
    headers = client.request({"class": ["cat", 2], "seed": 9}).headers
    assert headers["content-type"] == "image/png"
    assert headers["x-sngan-seed"] == "9"
    assert headers["x-sngan-count"] == "2"
    assert headers["x-sngan-classes"] == "0,2"
    assert headers["x-sngan-model-version"] == "1.2"
    assert headers["x-sngan-provider"] == "cpu"
    assert headers["x-sngan-variant"] == "float32"
    assert headers["x-sngan-truncation"] == "none"
    assert headers["x-sngan-grid"] == "1x2"
    assert re.fullmatch(r"generate;dur=[\d.]+, encode;dur=[\d.]+", headers["server-timing"])


def test_json_carries_the_same_images(client: SnganClient, tiny_session: GeneratorSession) -> None:
    answer = client.request({"n": 3, "seed": 4}, accept="application/json")
    record = json.loads(answer.body)
    assert answer.headers["content-type"] == "application/json"
    assert record["request_id"] == answer.headers["x-request-id"]
    drawn = draw(tiny_session, ImageRequest(n=3, seed=4, classes=None, truncation=None))
    for index, image in enumerate(record["images"]):
        pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(image["base64"]))))
        assert (pixels == drawn[index]).all()
        assert image["class_name"] == tiny_session.metadata.class_names[image["class"]]


@pytest.mark.parametrize(
    ("fields", "media_type"),
    [
        ({"n": 2, "format": "jpeg", "quality": 70}, "image/jpeg"),
        ({"n": 2, "format": "webp", "columns": 1, "padding": 0, "scale": 3}, "image/webp"),
        ({"n": 2, "format": "npy"}, "application/x-npy"),
        ({"n": 2, "format": "zip", "return_z": True}, "application/zip"),
        ({"z": [[0.25] * 8], "class": "frog"}, "image/png"),
    ],
)
def test_every_format_is_what_it_is_without_a_server(
    client: SnganClient, tiny_session: GeneratorSession, fields: dict[str, Any], media_type: str
) -> None:
    fields = fields if "z" in fields else {**fields, "seed": 5}
    answer = client.request(fields)
    assert answer.headers["content-type"] == media_type
    assert answer.body == expected(tiny_session, fields)


def test_accept_chooses_the_format(server: RunningServer) -> None:
    for accept, media_type in (
        ("image/webp;q=0.9, image/*;q=0.1", "image/webp"),
        ("application/zip", "application/zip"),
    ):
        assert post(server, b"", {"Accept": accept}, method="GET").headers["content-type"] == media_type


def test_the_documented_walk_runs(server: RunningServer) -> None:
    text = (ROOT / "docs" / "serve.md").read_text(encoding="utf-8")
    [code] = re.findall(r"```python\n(.*?)```", text, flags=re.S)
    code = (
        code.replace("http://127.0.0.1:8080", server.base_url).replace('"class": 3', '"class": 2').replace("=3", "=2")
    )
    names: dict[str, Any] = {}
    exec(code, names)
    with Image.open(io.BytesIO(names["strip"])) as strip:
        assert strip.size == (2 * (10 * (4 + 2) + 2), 2 * (6 + 2 + 2))


def test_headers_of_tracing_are_handed_back(server: RunningServer) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    for body in (b"{}", b'{"n": 0}'):
        headers = post(server, body, {**JSON, "X-Correlation-ID": "job-7", "Traceparent": trace}).headers
        assert (headers["x-correlation-id"], headers["traceparent"]) == ("job-7", trace)


@pytest.mark.parametrize("path", ["/v1/models/sngan:predict", "/v2/models/sngan/infer", "/predictions/sngan"])
def test_kserve_s_protocols_at_any_batch_size(server: RunningServer, tiny_session: GeneratorSession, path: str) -> None:
    """Sent together, so that they share batches; TorchServe's own envelopes would fail all of them."""
    bodies: list[dict[str, Any]] = []
    for seed in range(4):
        bodies.append({"instances": [{"seed": seed}, {"seed": seed + 1, "n": 2}]})
        bodies.append({"inputs": [], "parameters": {"seed": seed, "n": 1 + seed}, "id": str(seed)})

    def ask(body: dict[str, Any]) -> Answer:
        content = json.dumps(body).encode()
        return exchange(server.base_url + path, method="POST", body=content, headers=JSON, timeout_s=ANSWER_S)

    with concurrent.futures.ThreadPoolExecutor(len(bodies)) as pool:
        answers = list(pool.map(ask, bodies))
    for body, answer in zip(bodies, answers, strict=True):
        assert (answer.status, answer.body) == (200, expected(tiny_session, body))


def grpc_predict(server: RunningServer, entries: dict[str, bytes]) -> bytes:
    """The field `prediction` of TorchServe's answer. The messages are so small that they are written by hand."""
    grpc = pytest.importorskip("grpc")

    def field(number: int, value: bytes) -> bytes:
        length, size = len(value), bytearray()
        while length >= 128:
            size.append(length % 128 + 128)
            length //= 128
        return bytes([number * 8 + 2]) + bytes(size) + bytes([length]) + value

    def first_field(message: bytes) -> bytes:
        length, shift, position = 0, 0, 1
        while True:
            length |= (message[position] & 127) << shift
            position, shift = position + 1, shift + 7
            if message[position - 1] < 128:
                return message[position : position + length]

    request = field(1, b"sngan")
    for key, value in entries.items():
        request += field(3, field(1, key.encode()) + field(2, value))
    with grpc.insecure_channel(f"127.0.0.1:{server.config.grpc_inference_port}") as channel:
        answer: bytes = channel.unary_unary(GRPC_METHOD)(request, timeout=ANSWER_S)
    return first_field(answer)


@pytest.mark.parametrize("key", ["body", "data"])
def test_grpc_answers_the_same_and_carries_the_same_errors(
    server: RunningServer, tiny_session: GeneratorSession, key: str
) -> None:
    fields = {"class": "frog", "seed": 3, "n": 2}
    assert grpc_predict(server, {key: json.dumps(fields).encode()}) == expected(tiny_session, fields)
    record = json.loads(grpc_predict(server, {key: b'{"clas": 1}'}))
    assert (record["code"], record["type"]) == (400, "UnknownField")
    assert json.loads(grpc_predict(server, {"n": b"2"}))["code"] == 415
    assert grpc_predict(server, {}).startswith(b"\x89PNG")


def test_schemathesis_finds_nothing(server: RunningServer, tiny_metadata: GeneratorMetadata, tmp_path: Path) -> None:
    """A process an operation, so that they share batches.

    Its own `--workers` are threads, and Python 3.11's `ast` counts its depth for all threads together.
    """
    if importlib.util.find_spec("schemathesis") is None:
        pytest.skip("needs schemathesis, of the extra dev")
    document = openapi.document(tiny_metadata)
    path = tmp_path / "openapi.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    config = ROOT / "tests" / "schemathesis.toml"
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "run", str(path)]
    options = ["--url", server.base_url, "--max-examples", str(SCHEMATHESIS_EXAMPLES), "--seed", "1", "--no-color"]

    def run(operation: str) -> subprocess.CompletedProcess[str]:
        folder = tmp_path / operation
        folder.mkdir()
        # Every path takes every body, so the hundreds of its systematic cases go to one of them.
        phases = "examples,coverage,fuzzing" if operation == "draw" else "examples,fuzzing"
        chosen = [*command, *options, "--include-operation-id", operation, "--phases", phases]
        return subprocess.run(chosen, capture_output=True, text=True, check=False, cwd=folder)

    parts = [one[method] for one in document["paths"].values() for method in ("get", "post") if method in one]
    operations = [part["operationId"] for part in parts]
    with concurrent.futures.ThreadPoolExecutor(len(operations)) as pool:
        for done in pool.map(run, operations):
            assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
            assert "Tested: 1" in done.stdout


def test_neighbours_in_a_batch_neither_fail_nor_change_one_another(
    server: RunningServer, tiny_session: GeneratorSession
) -> None:
    """Good and bad requests at once, 4 to a batch; each gets the answer that it gets alone."""
    singles: list[tuple[bytes, bytes | int]] = []
    for seed in range(16):
        fields = {"class": seed % 3, "seed": seed, "n": 1 + seed % 4, "format": "png"}
        singles.append((json.dumps(fields).encode(), expected(tiny_session, fields)))
        singles.append((b'{"clas": 1}' if seed % 2 else b"[" * 100_000, 400))
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda single: post(server, single[0]), singles))
    for (_, alone), answer in zip(singles, answers, strict=True):
        if isinstance(alone, int):
            assert answer.status == alone
        else:
            assert (answer.status, answer.body) == (200, alone)


def test_four_images_are_the_grid_of_four_single_ones(client: SnganClient) -> None:
    """By JSON, image by image: image i of n = 4 is the same bytes as in n = 1, 2, 3."""
    four = json.loads(client.request({"n": 4, "seed": 8, "format": "json"}).body)["images"]
    for n in (1, 2, 3):
        fewer = json.loads(client.request({"n": n, "seed": 8, "format": "json"}).body)["images"]
        assert fewer == four[:n]


@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
def test_an_empty_body_means_defaults(server: RunningServer, method: str) -> None:
    answer = post(server, b"", headers={}, method=method)
    assert (answer.status, answer.headers["content-type"]) == (200, "image/png")


@pytest.mark.parametrize(
    ("body", "headers", "status", "words"),
    [
        (b'{"clas": 1}', JSON, 400, 'did you mean \\"class\\"'),
        (b'{"z": [[0]]}', JSON, 422, "entry 0 is a list of 1"),
        (b'{"z": [[0,0,0,0,0,0,0,0]], "seed": 1}', JSON, 422, "seed or z, not both"),
        (b'{"quality": 50}', JSON, 422, "nothing in this answer is lossy"),
        (b'{"instances": [{}, {"n": 0}]}', JSON, 422, "instances[1].n"),
        (b'{"inputs": [{"name": "zz"}]}', JSON, 422, "inputs[0].name"),
        (b'{"n": 1, "n": 2}', JSON, 400, "twice"),
        (b'{"n": NaN}', JSON, 400, "NaN"),
        (b'{"n": 1', JSON, 400, "not JSON"),
        (b"\xff\xfe", JSON, 400, "UTF-8"),
        (b"[1]", JSON, 400, "must be a JSON object"),
        (b"[" * 100_000, JSON, 400, "nested too deeply"),
        (b'{"n": 1' + b"0" * 5000 + b"}", JSON, 400, "too many digits"),
        (b'{"class": "zebra"}', JSON, 422, "no class of this model"),
        (b'{"class": "\\ud800"}', JSON, 422, "no class of this model"),
        (b'{"class": 3}', JSON, 422, "out of range"),
        (b'{"class": true}', JSON, 422, "neither an id nor a name"),
        (b'{"n": 65}', JSON, 422, "out of range"),
        (b'{"n": "2"}', JSON, 422, "not an integer"),
        (b'{"seed": -1}', JSON, 422, "out of range"),
        (b'{"truncation": 3}', JSON, 422, "cannot be used"),
        (b'{"format": "gif"}', JSON, 422, "is not known"),
        (b"{}", {**JSON, "Accept": "text/html"}, 406, "image/png, application/json"),
        (b'{"n": 2}', {"Content-Type": "application/x-www-form-urlencoded"}, 415, "-H 'Content-Type"),
        (b"n=2&seed=1", {"Content-Type": "application/x-www-form-urlencoded"}, 415, "-H 'Content-Type"),
        (b'{"n": 2}', {"Content-Type": "image/png"}, 415, "-H 'Content-Type"),
    ],
)
def test_bad_requests(server: RunningServer, body: bytes, headers: dict[str, str], status: int, words: str) -> None:
    answer = post(server, body, headers)
    record = json.loads(answer.body)
    assert answer.status == record["code"] == status
    assert answer.headers["content-type"] == "application/json"
    assert words in json.dumps(record, ensure_ascii=False)
    assert record["request_id"] == answer.headers["x-request-id"]
    assert set(record) == {"code", "type", "message", "details", "request_id"}


def test_a_multipart_body_is_415(server: RunningServer) -> None:
    body = b'--b\r\nContent-Disposition: form-data; name="body"\r\n\r\n{"n": 2}\r\n--b--\r\n'
    assert post(server, body, {"Content-Type": "multipart/form-data; boundary=b"}).status == 415


def test_a_body_of_two_megabytes_is_413(server: RunningServer) -> None:
    assert post(server, b" " * 2 * 10**6).status == 413


def test_json_under_another_type_is_read(server: RunningServer, tiny_session: GeneratorSession) -> None:
    picture = expected(tiny_session, {"seed": 5, "n": 2})
    for headers in ({}, {"Content-Type": "application/octet-stream"}, {"Content-Type": "text/plain"}):
        assert post(server, b'{"seed": 5, "n": 2}', headers).body == picture


def test_the_client_s_error_carries_the_details(client: SnganClient) -> None:
    with pytest.raises(RequestRefusedError, match="HTTP 422: n: 99 is out of range") as caught:
        client.images(n=99)
    assert caught.value.details[0]["field"] == "n"


def test_health(server: RunningServer) -> None:
    assert healthcheck(server.base_url, server.management_url).ready
    assert healthcheck(server.base_url, server.management_url, deep=True, timeout_s=ANSWER_S).ready


def test_management_describes_the_model(server: RunningServer) -> None:
    url = f"{server.management_url}/models/sngan?customized=true"
    [description] = json.loads(exchange(url, timeout_s=ANSWER_S).body)
    assert description["customizedMetadata"]["model"]["class_names"] == ["cat", "Dog", "frog"]
    assert description["customizedMetadata"]["provider"] == "cpu"
    assert "ImageRequest" in description["customizedMetadata"]["openapi"]["components"]["schemas"]


def test_models_cannot_be_registered(server: RunningServer) -> None:
    url = f"{server.management_url}/models?url=http://127.0.0.1:1/x.mar"
    assert exchange(url, method="POST", timeout_s=ANSWER_S).status == 405


def test_only_loopback_is_listened_on(server: RunningServer) -> None:
    listening = [c.laddr for c in psutil.Process(server.pid).net_connections("tcp") if c.status == "LISTEN"]
    # Java writes an IPv4 address as IPv6 where it can.
    assert {address.ip.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}
    assert {address.port for address in listening} == {getattr(server.config, name) for name in PORTS}


def test_the_log_shows_nothing_when_all_is_well(client: SnganClient, log: list[str]) -> None:
    before = list(log)
    client.images()
    with pytest.raises(RequestRefusedError):
        client.request({"clas": 1})
    assert log == before


def test_a_killed_worker_is_replaced(server: RunningServer) -> None:
    # The request in a dying worker's hands fails, or with batches is never answered; the next ones wait for
    # the new worker.
    client = SnganClient(server.base_url, timeout_s=5.0)

    def worker() -> psutil.Process:
        [found] = [
            child
            for child in psutil.Process(server.pid).children()
            if any("model_service_worker" in word for word in child.cmdline())
        ]
        return found

    killed = worker()
    killed.kill()
    deadline = time.monotonic() + WORKER_BACK_S
    while True:
        with contextlib.suppress(RequestRefusedError, UnreachableError):
            client.images(seed=0)
            break
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert worker().pid != killed.pid
    assert healthcheck(server.base_url, server.management_url).ready


def test_a_worker_that_cannot_load_is_one_clear_error(tiny_mar: Path, tmp_path: Path) -> None:
    """In place of a hang: TorchServe itself would take requests and answer none."""
    broken = tmp_path / "broken.mar"
    with zipfile.ZipFile(tiny_mar) as source, zipfile.ZipFile(broken, "w") as target:
        for name in source.namelist():
            extra = b"import no_such_package\n" if name == "sngan_handler.py" else b""
            target.writestr(name, source.read(name) + extra)
    with (
        pytest.raises(StartError, match=r"did not load the model: ModuleNotFoundError: .*'no_such_package'$"),
        running_server(broken, ServeConfig.on_free_ports()),
    ):
        pytest.fail("it is not running")


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")
def test_with_the_real_torch_the_answers_are_the_same(
    tiny_generator_onnx: Path, tiny_session: GeneratorSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All other servers here run with the stand-in."""
    monkeypatch.setattr("serve.torch_stand_in.is_used", lambda provider: False)
    with running_server(tiny_generator_onnx, ServeConfig.on_free_ports()) as running:
        png = SnganClient(running.base_url, timeout_s=ANSWER_S).images(seed=6, n=2)
        [worker] = psutil.Process(running.pid).children()
        assert any("/torch/lib/" in mapped.path for mapped in worker.memory_maps())
    assert png == expected(tiny_session, {"seed": 6, "n": 2})


def test_sigterm_stops_all_of_it(tiny_generator_onnx: Path) -> None:
    """`sngan serve` as a process of its own."""
    options = [f"--{name.replace('_', '-')}=0" for name in PORTS]
    command = [sys.executable, "-c", "import serve.cli; serve.cli.app()", "serve", str(tiny_generator_onnx)]
    launcher = subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True)
    with launcher:
        assert launcher.stderr is not None
        said = []
        for line in launcher.stderr:
            said.append(line)
            if "stop with Ctrl-C" in line:
                break
        family = psutil.Process(launcher.pid).children(recursive=True)
        text = "".join(said)
        url = re.search(r"ready after .* at (http://\S+)/predictions/sngan", text)
        assert url is not None, text
        assert SnganClient(url[1], timeout_s=ANSWER_S).images(class_="frog")[:4] == b"\x89PNG"
        assert "curl" in text
        assert len(family) >= 2
        launcher.send_signal(signal.SIGTERM)
        assert launcher.wait(ANSWER_S) == 0
        rest = launcher.stderr.read()
    assert rest.strip() == "stopping: not ready any more, answering what has been accepted"
    assert all(is_gone(process) for process in family)
