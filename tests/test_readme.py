"""The README's commands, run as they stand there, in their order."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
IN_THE_REPOSITORY = ("make ", "pip install -e ")  # the others run in an empty folder
NOT_RUN = ("make test",)  # it is what runs this
SERVER_READY_S = 120.0


def commands() -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.strip()]


def environment() -> dict[str, str]:
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def test_the_two_commands_come_first() -> None:
    assert commands()[:2] == ["make demo", "make test"]


def test_every_link_leads_somewhere() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)", README) if "://" not in link]
    assert len(links) > 5
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_file_map_names_files_that_exist() -> None:
    block = README.split("## File map")[1].split("```")[1]
    folder = ""
    missing = []
    for line in block.splitlines():
        if line and not line.startswith(" "):
            folder = line.split("/")[0]
        for name in re.findall(r"\b[\w]+\.py\b", line):
            if not list((ROOT / folder).rglob(name)):
                missing.append(f"{folder}/{name}")
    assert missing == []


@pytest.mark.slow
@pytest.mark.torchserve
def test_every_command_runs(tmp_path: Path) -> None:
    server: subprocess.Popen[bytes] | None = None
    ran = []
    try:
        for command in commands():
            if command.startswith(NOT_RUN):
                continue
            folder = ROOT if command.startswith(IN_THE_REPOSITORY) else tmp_path
            if command.startswith("sngan serve"):
                # Without a shell in between, so that the signal reaches the command itself.
                server = subprocess.Popen(command.split(), cwd=folder, env=environment())
                _wait_until_ready(server)
            else:
                done = subprocess.run(
                    command, shell=True, cwd=folder, env=environment(), capture_output=True, text=True, check=False
                )
                assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
            ran.append(command.split()[0])
        assert server is not None
        server.send_signal(signal.SIGINT)
        assert server.wait(30) == 0
    finally:
        if server is not None and server.poll() is None:
            server.kill()
    assert {"make", "pip", "sngan", "curl"} <= set(ran)

    with Image.open(tmp_path / "sevens.png") as drawn, Image.open(tmp_path / "image.png") as served:
        assert drawn.size == served.size == (4 * 18 + 2, 4 * 18 + 2)
    with Image.open(ROOT / "demo" / "digits.png") as sheet:
        assert np.asarray(sheet).std() > 30


def _wait_until_ready(server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + SERVER_READY_S
    check = [sys.executable, "-m", "sngan_cli", "healthcheck"]
    while subprocess.run(check, capture_output=True, check=False).returncode != 0:
        assert server.poll() is None, "the server ended by itself"
        assert time.monotonic() < deadline
        time.sleep(0.5)
