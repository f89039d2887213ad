"""The Dockerfile: read by every test run; with `-m container`, built and run as well."""

from __future__ import annotations

import contextlib
import fnmatch
import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer.main
from PIL import Image

import serve.cli
from handlers.drawing import draw
from handlers.request import request_from_fields
from handlers.session import GeneratorSession

ROOT = Path(__file__).parent.parent.parent
TARGETS = ("train", "serve")
BASE = "python:3.11-slim-bookworm"
IMAGE = "localhost/sngan:test"
# Nothing may be written but /tmp, nothing reached, no right had.
HARDENED = (
    *("--network", "none", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL"),
    *("--security-opt", "no-new-privileges", "--memory", "2g", "--pull", "never"),
)
BUILD_S = 1200.0
READY_S = 90.0  # 3 s on an idle machine
GRACE_S = 10  # what `podman stop` and Docker give by default before they kill


def read_stages() -> dict[str, tuple[str, list[tuple[str, str]]]]:
    """Stage → (what it starts from, its instructions with their arguments), in the file's order."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", "")
    stages: dict[str, tuple[str, list[tuple[str, str]]]] = {}
    instructions: list[tuple[str, str]] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        instruction, argument = line.split(maxsplit=1)
        if instruction == "FROM":
            parent, name = argument.split(" AS ")
            stages[name] = parent, (instructions := [])
        else:
            instructions.append((instruction, argument))
    return stages


def settings(target: str) -> dict[str, str]:
    """The last argument of every instruction of a target and of the stages that it starts from."""
    parent, instructions = read_stages()[target]
    inherited = settings(parent) if parent in read_stages() else {}
    return {**inherited, **dict(instructions)}


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_hadolint_has_nothing_to_say() -> None:
    hadolint = shutil.which("hadolint", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if hadolint is None:
        pytest.skip("hadolint is not installed")
    result = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (0, "")


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_is_a_command_without_rights(target: str) -> None:
    found = settings(target)
    user, group = found["USER"].split(":")
    assert int(user) > 0, "a number, so that Kubernetes can tell that it is not root"
    assert int(group) > 0
    assert json.loads(found["ENTRYPOINT"]) == ["sngan"], "no shell between: signals must arrive"
    assert found["STOPSIGNAL"] == "SIGTERM"
    assert json.loads(found["CMD"])


def test_training_shows_its_help_and_keeps_what_it_writes() -> None:
    found = settings("train")
    assert json.loads(found["CMD"]) == ["--help"]
    assert json.loads(found["VOLUME"]) == [found["WORKDIR"]]
    assert "HEALTHCHECK" not in found


def test_serving_is_what_the_command_line_understands() -> None:
    found = settings("serve")
    command, *arguments = json.loads(found["CMD"])
    commands = typer.main.get_group(serve.cli.app).commands
    asked = commands[command].make_context(command, list(arguments)).params
    assert (asked["host"], asked["port"], asked["behind_proxy"]) == ("0.0.0.0", int(found["EXPOSE"]), True)

    options, check = found["HEALTHCHECK"].split(" CMD ")
    program, command, *arguments = json.loads(check)
    asked = commands[command].make_context(command, list(arguments)).params
    assert program == "sngan"
    limit = re.search(r"--timeout=(\d+)s", options)
    assert limit is not None
    assert asked["timeout_s"] < int(limit[1]), "the check itself says what is wrong, before it is killed"


def test_each_target_installs_its_own_extras(tmp_path: Path) -> None:
    """The lists that the Dockerfile draws from pyproject.toml, and who copies which."""
    [run] = [argument for instruction, argument in read_stages()["requirements"][1] if instruction == "RUN"]
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    subprocess.run([sys.executable, *json.loads(run)[1:]], cwd=tmp_path, check=True)
    lists = {path.stem: path.read_text().splitlines() for path in tmp_path.glob("*.txt")}
    assert lists.pop("base") == project()["project"]["dependencies"]
    assert lists == project()["project"]["optional-dependencies"]

    for stage, extras in (("serve-packages", ["serve"]), ("train-packages", ["train", "export"])):
        wanted = ["base.txt", *(f"{extra}.txt" for extra in extras), "${RUNTIME}.txt"]
        text = " ".join(argument for _, argument in read_stages()[stage][1])
        assert re.findall(r"/requirements/(\S+\.txt)", text) == wanted
        assert re.findall(r'-r "?(\S+\.txt)', text) == wanted


def test_only_the_package_enters_the_build() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    allowed = {pattern.removeprefix("!") for pattern in patterns if pattern.startswith("!")}
    packages = {name.partition(".")[0] for name in project()["tool"]["setuptools"]["packages"]}
    assert patterns[0] == "*"
    assert allowed == packages | {"pyproject.toml", "README.md", "LICENSE"}
    assert any(fnmatch.fnmatch("serve/__pycache__", pattern) for pattern in patterns[len(allowed) + 1 :])


def podman(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[bytes]:
    result = subprocess.run(["podman", *arguments], capture_output=True, timeout=BUILD_S, check=False)
    assert not check or result.returncode == 0, result.stderr.decode()
    return result


@pytest.fixture(scope="module")
def serve_image() -> str:
    """The image of target `serve`. It stays, so that the next build is quick."""
    if shutil.which("podman") is None:
        pytest.skip("needs podman to run the image (and buildah or podman to build it)")
    command = ["podman", "build"]
    if shutil.which("buildah") is not None:
        command = ["buildah", "bud", "--isolation", "chroot"]
    # The format decides whether the image has a HEALTHCHECK.
    command += ["--format", "docker", "--layers", "--target", "serve", "--tag", IMAGE]
    if podman("image", "exists", BASE, check=False).returncode == 0:
        command.append("--pull-never")
    result = subprocess.run([*command, ROOT], capture_output=True, text=True, timeout=BUILD_S, check=False)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    return IMAGE


@contextlib.contextmanager
def ready_container(image: str, archive: Path) -> Iterator[str]:
    """The name of a container of our own that answers requests."""
    name = f"sngan-test-{os.getpid()}-{time.monotonic_ns()}"
    try:
        podman("run", "--detach", "--name", name, *HARDENED, "-v", f"{archive}:/models/sngan.mar:ro", image)
        deadline = time.monotonic() + READY_S
        while podman("exec", name, "sngan", "healthcheck", check=False).returncode != 0:
            running = podman("inspect", "--format", "{{.State.Running}}", name).stdout.strip() == b"true"
            log = podman("logs", name).stderr.decode()
            assert running, log
            assert time.monotonic() < deadline, log
            time.sleep(0.5)
        yield name
    finally:
        podman("rm", "--force", name, check=False)


@pytest.fixture(scope="module")
def container(serve_image: str, tiny_mar: Path) -> Iterator[str]:
    with ready_container(serve_image, tiny_mar) as name:
        yield name


def inside(name: str, code: str) -> bytes:
    """What Python code in the container prints."""
    return podman("exec", name, "python", "-c", code).stdout


@pytest.mark.container
def test_it_draws_the_image_that_was_asked_for(container: str, tiny_session: GeneratorSession) -> None:
    code = (
        "import sys; from serve.client import SnganClient; client = SnganClient('http://127.0.0.1:8080', timeout_s=60);"
        "sys.stdout.buffer.write(client.images(class_='Dog', seed=3))"
    )
    pixels = np.asarray(Image.open(io.BytesIO(inside(container, code)))).astype(int)
    [expected] = draw(tiny_session, request_from_fields({"class": "Dog", "seed": 3}, tiny_session.metadata))
    # The image may hold another version of ONNX Runtime than this environment.
    assert np.abs(pixels - expected.astype(int)).max() <= 1


@pytest.mark.container
def test_the_image_s_own_health_check_passes(container: str) -> None:
    podman("healthcheck", "run", container)
    podman("exec", container, "sngan", "healthcheck", "--deep")


@pytest.mark.container
def test_onnx_runtime_does_not_report_home(container: str) -> None:
    """Where its telemetry is on, the worker leaves a device id below the home."""
    podman("exec", container, "sngan", "healthcheck", "--deep")
    assert inside(container, "import pathlib; print(*pathlib.Path.home().rglob('deviceid'))").strip() == b""


@pytest.mark.container
def test_what_is_inside(container: str) -> None:
    """No rights, no torch, no pip; nothing but predictions is open to others."""
    code = """
import importlib.util, json, os, psutil
listening = [c.laddr for c in psutil.net_connections("tcp") if c.status == "LISTEN"]
loopback = ("127.", "::1", "::ffff:127.")
print(json.dumps({
    "user": os.getuid(),
    "first": psutil.Process(1).cmdline()[1],
    "open": sorted({address.port for address in listening if not address.ip.startswith(loopback)}),
    "there": [name for name in ("torch", "onnx", "pip", "setuptools") if importlib.util.find_spec(name)],
}))
"""
    assert json.loads(inside(container, code)) == {
        "user": int(settings("serve")["USER"].partition(":")[0]),
        "first": "/opt/sngan/bin/sngan",
        "open": [8080],
        "there": [],
    }


@pytest.mark.container
def test_without_a_model_it_ends_and_says_so(serve_image: str) -> None:
    result = podman("run", "--rm", *HARDENED, serve_image, check=False)
    assert result.returncode == 1
    assert b"error: /models/sngan.mar" in result.stderr


@pytest.mark.container
def test_sigterm_stops_it_in_order(serve_image: str, tiny_mar: Path) -> None:
    """As process 1, where the kernel drops signals that have no handler."""
    with ready_container(serve_image, tiny_mar) as name:
        started = time.monotonic()
        podman("stop", "--time", str(GRACE_S), name)
        seconds = time.monotonic() - started
        assert podman("inspect", "--format", "{{.State.ExitCode}}", name).stdout.strip() == b"0"
        assert seconds < GRACE_S
        assert podman("logs", name).stderr.decode().splitlines()[-1].startswith("stopping")
