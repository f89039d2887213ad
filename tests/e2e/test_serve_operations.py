"""`sngan serve` as an operator meets it: metrics, secrets, hostile requests, a reload and the end under load."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from handlers.metadata import GeneratorMetadata
from serve import record, tokens
from serve.config import PORTS, ServeConfig
from serve.errors import ReloadError, UnreachableError
from serve.exchange import Answer, exchange
from serve.health import healthcheck
from serve.launcher import running_server
from serve.private_folder import private_folder
from serve.reload import reload

pytest.importorskip("ts")
pytestmark = pytest.mark.torchserve

ANSWER_S = 60.0  # other programs use the machine too
JSON = {"Content-Type": "application/json"}
SIDE = 192  # pixels; four images make a PNG that takes a tenth of a second or so
FREE_PORTS = [f"--{name.replace('_', '-')}=0" for name in PORTS]


@dataclasses.dataclass(kw_only=True)
class Serving:
    """`sngan serve` in a process of its own."""

    process: subprocess.Popen[str]
    said: list[str]
    predictions: str
    management: str
    metrics: str
    access_log: Path

    @property
    def port(self) -> int:
        return int(self.predictions.split(":")[2].split("/")[0])

    def post(self, body: bytes, headers: dict[str, str] | None = None) -> Answer:
        return exchange(self.predictions, method="POST", body=body, headers=headers or JSON, timeout_s=ANSWER_S)

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)


def is_gone(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    return True


def is_worker(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):  # above all a zombie
        return "model_service_worker" in " ".join(process.cmdline())
    return False


def wait_for(condition: Callable[[], bool], limit_s: float = ANSWER_S) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"nothing happened in {limit_s:g} s"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def metadata(tiny_metadata: GeneratorMetadata) -> GeneratorMetadata:
    return dataclasses.replace(tiny_metadata, height=SIDE, width=SIDE)


@pytest.fixture(scope="module")
def generator(
    tmp_path_factory: pytest.TempPathFactory,
    make_generator: Callable[[Path, GeneratorMetadata], Path],
    metadata: GeneratorMetadata,
) -> Path:
    return make_generator(tmp_path_factory.mktemp("operations") / "generator.onnx", metadata)


def start(generator: Path, *options: str, **environment: str) -> tuple[subprocess.Popen[str], list[str]]:
    """`sngan serve` on free ports, ready, and what it has said."""
    process = subprocess.Popen(
        [sys.executable, "-c", "import serve.cli; serve.cli.app()", "serve", str(generator), *options, *FREE_PORTS],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    assert process.stderr is not None
    said: list[str] = []
    for line in process.stderr:
        said.append(line)
        if "stop with Ctrl-C" in line:
            break
    return process, said


@pytest.fixture(scope="module")
def serving(generator: Path) -> Iterator[Serving]:
    log = generator.parent / "access.json"
    options = ["--workers=2", "--threads=1", "--provider=cpu", "--reloadable", f"--access-log={log}"]
    process, said = start(generator, *options, MY_API_TOKEN="not for workers", MY_NOTE="for anybody")
    assert process.stderr is not None
    rest = threading.Thread(target=lambda: said.extend(process.stderr or ()))
    rest.start()
    addresses = re.search(
        r"at (http://\S+)\n(?:.*\n)*?management \(this machine only\): (\S+); metrics: (\S+)", "".join(said)
    )
    try:
        assert addresses is not None, said
        yield Serving(
            process=process,
            said=said,
            predictions=addresses[1],
            management=addresses[2],
            metrics=addresses[3],
            access_log=log,
        )
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(ANSWER_S)
        rest.join(ANSWER_S)
        process.stderr.close()


def series(serving: Serving) -> dict[str, float]:
    """The metrics port's samples, without TorchServe's label of the host."""
    text = exchange(serving.metrics, timeout_s=ANSWER_S).body.decode()
    found = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            name, value = line.rsplit(" ", 1)
            found[re.sub(r',?[Hh]ostname="[^"]*",?', "", name).replace(",}", "}")] = float(value)
    return found


def test_metrics_tell_requests_images_latencies_and_rejections(serving: Serving) -> None:
    before = series(serving)
    for body in (b'{"n": 3}', b'{"n": 2, "format": "json"}', b'{"clas": 1}'):
        serving.post(body)
    label = 'provider="cpu",variant="float32"'
    grown = {
        f'sngan_requests_total{{status="200",format="png",{label}}}': 1,
        f'sngan_requests_total{{status="200",format="json",{label}}}': 1,
        f'sngan_requests_total{{status="400",format="json",{label}}}': 1,
        f"sngan_images_total{{{label}}}": 5,
        'sngan_rejections_total{reason="UnknownField"}': 1,
        'sngan_batch_images_sum{provider="cpu"}': 5,
        'sngan_batch_images_count{provider="cpu"}': 2,
        'sngan_request_seconds_count{provider="cpu"}': 3,
        'sngan_inference_seconds_count{provider="cpu"}': 2,
        'sngan_encoding_seconds_count{format="png"}': 1,
    }

    def difference() -> dict[str, float]:
        after = series(serving)
        return {name: after.get(name, 0) - before.get(name, 0) for name in grown}

    wait_for(lambda: difference() == grown, limit_s=10.0)  # they come by the worker's standard output
    assert series(serving)['sngan_worker_starts_total{provider="cpu",variant="float32",fallback="no"}'] == 2
    assert series(serving)['sngan_provider_fallback{provider="cpu"}'] == 0


def test_the_access_log_names_the_request_that_the_client_saw(serving: Serving) -> None:
    answer = serving.post(b'{"n": 2, "seed": 1}')
    wait_for(lambda: answer.headers["x-request-id"] in serving.access_log.read_text())
    lines = [json.loads(line) for line in serving.access_log.read_text().splitlines()]
    [line] = [line for line in lines if line["request_id"] == answer.headers["x-request-id"]]
    assert (line["status"], line["images"], line["bytes"]) == (200, 2, len(answer.body))


def test_workers_have_no_secrets_and_no_torch(serving: Serving) -> None:
    for process in serving.family():
        environment = process.environ()
        assert "MY_API_TOKEN" not in environment
        assert environment["MY_NOTE"] == "for anybody"
        assert not any("/torch/lib/" in mapped.path for mapped in process.memory_maps())


LEAKS = re.compile(rb"Traceback|\.py\b|/tmp|/store|/work|/home|site-packages|\bjava\.|io\.netty|org\.pytorch|at line")
VERSIONS = re.compile(r"netty|torchserve|java|python|\d+\.\d+\.\d+", re.IGNORECASE)


@pytest.mark.parametrize(
    "request_text",
    [
        b"GET /predictions/..%2f..%2fetc%2fpasswd HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /predictions/sngan/..%2f..%2f HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /predictions/sngan%00.mar HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /models HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /models?url=http://127.0.0.1:1/x.mar HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
        b"DELETE /models/sngan HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /token?type=inference HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /predictions/sngan HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /predictions/sngan HTTP/1.1\r\nHost: x\r\ndescribe: True\r\nAccept: text/html\r\n\r\n",
        b"POST /predictions/sngan HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n",
        b"POST /predictions/sngan HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n\xff\xfe[{",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    ],
)
def test_hostile_requests_learn_nothing_and_harm_nobody(serving: Serving, request_text: bytes) -> None:
    """Whatever comes back is a refusal, without a path, a traceback or a version."""
    answer = b""
    with socket.create_connection(("127.0.0.1", serving.port), timeout=ANSWER_S) as connection:
        with contextlib.suppress(OSError):  # it may have answered and closed before it has read all
            connection.sendall(request_text)
            connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            while chunk := connection.recv(65536):
                answer += chunk
    if answer:  # to what is no HTTP the answer may be a closed connection
        assert re.match(rb"HTTP/1\.1 4\d\d ", answer), answer[:300]
    assert LEAKS.search(answer) is None, answer[:1000]
    head = answer.partition(b"\r\n\r\n")[0].decode("latin-1")
    headers = [
        line for line in head.splitlines()[1:] if not line.lower().startswith(("date", "expires", "x-request-id"))
    ]
    assert VERSIONS.search("\n".join(headers)) is None, head
    assert serving.post(b"{}").status == 200


def test_paths_that_do_not_exist_make_no_new_series(serving: Serving) -> None:
    before = set(series(serving))
    for number in range(20):
        url = f"{serving.predictions.rpartition('/')[0]}/model{number}/version{number}"
        assert exchange(url, timeout_s=ANSWER_S).status == 404
    new = set(series(serving)) - before
    assert not any(f"model{number}" in name or f"version{number}" in name for name in new for number in range(20))


def test_only_predictions_are_answered_beyond_the_worker(serving: Serving) -> None:
    """Nothing of it listens on another address than loopback; management is on, since it was started --reloadable."""
    java = psutil.Process(serving.process.pid).children()[0]
    listening = {c.laddr.ip.removeprefix("::ffff:") for c in java.net_connections("tcp") if c.status == "LISTEN"}
    assert listening == {"127.0.0.1"}


def test_a_reload_drops_no_request_and_a_bad_one_changes_nothing(
    serving: Serving,
    generator: Path,
    tmp_path: Path,
    metadata: GeneratorMetadata,
    make_generator: Callable[[Path, GeneratorMetadata], Path],
) -> None:
    newer = make_generator(tmp_path / "newer.onnx", dataclasses.replace(metadata, version="2.0"))
    said: list[str] = []
    ended = threading.Event()

    def stream() -> list[Answer | Exception]:
        answers: list[Answer | Exception] = []
        while not ended.is_set():
            try:
                answers.append(serving.post(b'{"seed": 3}'))
            except UnreachableError as error:
                answers.append(error)
        return answers

    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        streams = [pool.submit(stream) for _ in range(3)]
        try:
            (tmp_path / "bad.onnx").write_bytes(b"garbage")
            with pytest.raises(ReloadError, match=r"not a readable ONNX generator.*; version 1\.2 still serves"):
                reload(tmp_path / "bad.onnx", serving.management, said.append)
            assert reload(newer, serving.management, said.append) == "2.0"
            assert serving.post(b"{}").headers["x-sngan-model-version"] == "2.0"
            # The same file again: its version is taken, and gets a name of its own.
            assert reload(newer, serving.management, said.append).startswith("2.0-sngan-")
        finally:
            ended.set()
    answers = [answer for each in streams for answer in each.result()]
    assert [answer for answer in answers if not isinstance(answer, Answer) or answer.status != 200] == []
    versions = [answer.headers["x-sngan-model-version"] for answer in answers if isinstance(answer, Answer)]
    assert set(versions) == {"1.2", "2.0"}
    # What has been replaced is gone: its workers, and its folder.
    wait_for(lambda: len([process for process in serving.family() if is_worker(process)]) == 2)
    found = record.find(serving.management)
    assert found is not None
    assert [path.name for path in found.store.iterdir() if path.is_dir()] == [found.model]
    assert healthcheck(serving.predictions.rpartition("/predictions")[0], serving.management, deep=True).ready


def test_a_worker_that_does_not_load_leaves_the_old_one(serving: Serving, tiny_mar: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mar"
    with zipfile.ZipFile(tiny_mar) as source, zipfile.ZipFile(broken, "w") as target:
        for name in source.namelist():
            extra = b"import no_such_package\n" if name == "sngan_handler.py" else b""
            target.writestr(name, source.read(name) + extra)
    before = exchange(f"{serving.management}/models/sngan/all", timeout_s=ANSWER_S).body
    with pytest.raises(ReloadError, match=r"No module named 'no_such_package'; version 2\.0-sngan-\d still serves"):
        reload(broken, serving.management, lambda line: None)
    after = exchange(f"{serving.management}/models/sngan/all", timeout_s=ANSWER_S).body
    assert [r["modelVersion"] for r in json.loads(after)] == [r["modelVersion"] for r in json.loads(before)]
    assert serving.post(b"{}").status == 200


def test_sigterm_answers_what_was_accepted_and_leaves_nothing(serving: Serving) -> None:
    """Twelve requests for two workers; no more come. Keep it last: it ends the server."""
    family = serving.family()
    found = record.find(serving.management)
    assert found is not None

    def waiting() -> bool:
        """All twelve have been taken in, and most are not answered yet."""
        [state] = json.loads(exchange(f"{serving.management}/models/sngan", timeout_s=ANSWER_S).body)
        return int(state["jobQueueStatus"]["pendingRequests"]) >= 6

    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        bodies = [json.dumps({"n": 8, "seed": seed}).encode() for seed in range(12)]
        answers = [pool.submit(serving.post, body) for body in bodies]
        while not waiting():
            if all(answer.done() for answer in answers):  # they were answered before anybody looked
                answers = [pool.submit(serving.post, body) for body in bodies]
        started = time.monotonic()
        serving.process.send_signal(signal.SIGTERM)
        wait_for(lambda: "stopping" in serving.said[-1])
        health = healthcheck("http://127.0.0.1:1", serving.management)
        assert [answer.result().status for answer in answers] == [200] * 12
    assert (health.ready, health.reason) == (False, "the server is stopping")
    assert serving.process.wait(ANSWER_S) == 0
    assert time.monotonic() - started < 10 + ANSWER_S / 2
    assert all(is_gone(process) for process in family)
    assert not found.folder.exists()
    assert "cut off" not in "".join(serving.said)


def test_sigkill_leaves_no_process_and_the_next_start_removes_the_folder(tiny_generator_onnx: Path) -> None:
    process, said = start(tiny_generator_onnx, "--workers=1", "--provider=cpu")
    with process:
        family = psutil.Process(process.pid).children(recursive=True)
        address = re.search(r"management \(this machine only\): (\S+);", "".join(said))
        assert address is not None, said
        found = record.find(address[1])
        assert found is not None
        process.kill()
    assert len(family) >= 2, "java and a worker"
    wait_for(lambda: all(is_gone(member) for member in family))
    assert found.folder.is_dir()
    with private_folder():
        assert not found.folder.exists()


def test_tokens_guard_predictions_management_and_ping(tiny_generator_onnx: Path) -> None:
    config = ServeConfig.on_free_ports(provider="cpu", threads=1, token_auth=True)
    with running_server(tiny_generator_onnx, config) as server:
        key_file = server.folder / tokens.FILE
        assert key_file.stat().st_mode & 0o777 == 0o600
        header = tokens.headers(server.folder, server.management_url, "inference", ANSWER_S)
        assert exchange(server.predictions_url, headers=header, timeout_s=ANSWER_S).status == 200
        other = tokens.headers(server.folder, server.management_url, "management", ANSWER_S)
        for url in (server.predictions_url, f"{server.base_url}/ping"):
            for wrong in ({}, other, {"Authorization": "Bearer AAAAAAAA"}, {"Authorization": "Bearer"}):
                answer = exchange(url, headers=wrong, timeout_s=ANSWER_S)
                assert answer.status in (400, 403), "TorchServe says 400 for what elsewhere is 401"
                assert LEAKS.search(answer.body) is None
        assert exchange(f"{server.management_url}/models", timeout_s=ANSWER_S).status == 400
        assert healthcheck(server.base_url, server.management_url, deep=True, timeout_s=ANSWER_S).ready
        # An expired key is renewed by whoever can read the file.
        keys = json.loads(key_file.read_text())
        keys["inference"]["expiration time"] = "2020-01-01T00:00:00Z"
        key_file.write_text(json.dumps(keys))
        renewed = tokens.headers(server.folder, server.management_url, "inference", ANSWER_S)
        assert renewed != header
        assert exchange(server.predictions_url, headers=renewed, timeout_s=ANSWER_S).status == 200
        assert exchange(server.predictions_url, headers=header, timeout_s=ANSWER_S).status == 400
