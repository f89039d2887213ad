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

from handlers.drawing import draw
from handlers.metadata import GeneratorMetadata
from handlers.request import ImageRequest, request_from_fields
from handlers.response import encode_png, grid
from handlers.session import GeneratorSession
from serve.client import RequestRefusedError, SnganClient
from serve.config import PORTS, ServeConfig
from serve.errors import StartError, UnreachableError
from serve.exchange import Answer, exchange
from serve.health import healthcheck
from serve.launcher import RunningServer, running_server

pytest.importorskip("ts")
pytestmark = pytest.mark.torchserve

ANSWER_S = 60.0  # other programs use the machine too
WORKER_BACK_S = 30.0  # TorchServe waits 1 s and starts a worker, which imports torch where it is installed
JSON = {"Content-Type": "application/json"}


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
    config = ServeConfig.on_free_ports(provider="cpu", batch_size=4, max_batch_delay_ms=50)
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


def expected_png(session: GeneratorSession, fields: dict[str, Any]) -> bytes:
    """What the server must answer, by the same path without a server."""
    images = draw(session, request_from_fields(fields, session.metadata))
    return encode_png(images[0] if len(images) == 1 else grid(images))


def test_every_class_is_answered_with_its_own_image(
    client: SnganClient, tiny_metadata: GeneratorMetadata, tiny_session: GeneratorSession
) -> None:
    answers = [client.images(class_=name, seed=3) for name in tiny_metadata.class_names]
    assert len(set(answers)) == len(answers)
    for label, png in enumerate(answers):
        assert png == expected_png(tiny_session, {"class": label, "seed": 3})


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
    assert re.fullmatch(r"generate;dur=[\d.]+, encode;dur=[\d.]+", headers["server-timing"])


def test_json_carries_the_same_images(client: SnganClient, tiny_session: GeneratorSession) -> None:
    answer = client.request({"n": 3, "seed": 4}, accept="application/json")
    record = json.loads(answer.body)
    assert answer.headers["content-type"] == "application/json"
    assert record["request_id"] == answer.headers["x-request-id"]
    expected = draw(tiny_session, ImageRequest(n=3, seed=4, classes=None, truncation=None))
    for index, image in enumerate(record["images"]):
        pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(image["base64"]))))
        assert (pixels == expected[index]).all()
        assert image["class_name"] == tiny_session.metadata.class_names[image["class"]]


def test_neighbours_in_a_batch_neither_fail_nor_change_one_another(
    server: RunningServer, tiny_session: GeneratorSession
) -> None:
    """Good and bad requests at once, 4 to a batch; each gets the answer that it gets alone."""
    singles: list[tuple[bytes, bytes | int]] = []
    for seed in range(16):
        fields = {"class": seed % 3, "seed": seed, "n": 1 + seed % 4, "format": "png"}
        singles.append((json.dumps(fields).encode(), expected_png(tiny_session, fields)))
        singles.append((b'{"clas": 1}' if seed % 2 else b"[" * 100_000, 400))
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda single: post(server, single[0]), singles))
    for (_, expected), answer in zip(singles, answers, strict=True):
        if isinstance(expected, int):
            assert answer.status == expected
        else:
            assert (answer.status, answer.body) == (200, expected)


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
        (b'{"z": [[0]]}', JSON, 400, "unknown field"),
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
    expected = expected_png(tiny_session, {"seed": 5, "n": 2})
    for headers in ({}, {"Content-Type": "application/octet-stream"}, {"Content-Type": "text/plain"}):
        assert post(server, b'{"seed": 5, "n": 2}', headers).body == expected


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


def test_torch_is_not_needed(
    tiny_generator_onnx: Path, tiny_session: GeneratorSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stand-in comes before site-packages on the worker's path, so it hides a torch that is installed."""
    find_spec = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "torch" else find_spec(name))
    with running_server(tiny_generator_onnx, ServeConfig.on_free_ports()) as running:
        png = SnganClient(running.base_url, timeout_s=ANSWER_S).images(seed=6, n=2)
        [worker] = psutil.Process(running.pid).children()
        assert not any("/torch/lib/" in mapped.path for mapped in worker.memory_maps())
    assert png == expected_png(tiny_session, {"seed": 6, "n": 2})


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
    assert rest.strip() == "stopping"
    assert all(is_gone(process) for process in family)
