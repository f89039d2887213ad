from __future__ import annotations

import dataclasses
import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from serve import cli
from serve.config import ServeConfig
from serve.errors import ConfigError, NotReadyError


def test_the_options_defaults_are_the_configuration_s() -> None:
    """But those that are chosen by the machine."""
    defaults = {field.name: field.default for field in dataclasses.fields(ServeConfig)}
    options = {
        name: parameter.default
        for name, parameter in inspect.signature(cli.serve).parameters.items()
        if name not in ("source", "latency", "workers", "batch_size")
    }
    assert options == {name: defaults[name] for name in options}


def test_every_option_has_a_help_text() -> None:
    group: Any = typer.main.get_command(cli.app)
    for command in group.commands.values():
        assert command.help
        assert all(getattr(parameter, "help", None) for parameter in command.params)


def test_importing_the_commands_loads_nothing_heavy() -> None:
    program = "import sys, serve.cli; print([n for n in ('numpy', 'onnxruntime', 'psutil') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_serve_passes_its_options_on(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr("serve.foreground.run", lambda *arguments: calls.append(arguments))
    options = "--port 0 --management-port 1 --workers 2 --threads 3 --provider cpu --host 0.0.0.0 --behind-proxy"
    result = CliRunner().invoke(cli.app, ["serve", "x.mar", *options.split()])
    assert result.exit_code == 0, result.output
    expected = ServeConfig(
        port=0, management_port=1, workers=2, threads=3, provider="cpu", host="0.0.0.0", behind_proxy=True
    )
    assert calls == [(Path("x.mar"), expected)]


def test_serve_chooses_workers_for_throughput_or_latency(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[ServeConfig] = []
    monkeypatch.setattr("serve.foreground.run", lambda source, config: calls.append(config))
    monkeypatch.setattr("serve.capacity.cores", lambda: 4)
    monkeypatch.setattr("serve.capacity.free_memory", lambda: 2**40)
    for options in (["--provider", "cpu"], ["--provider", "cpu", "--latency"]):
        assert CliRunner().invoke(cli.app, ["serve", "x.mar", *options]).exit_code == 0
    assert [(config.workers, config.threads, config.batch_size) for config in calls] == [(4, 1, None), (1, 4, 1)]
    result = CliRunner().invoke(cli.app, ["serve", "x.mar", "--latency", "--workers", "2"])
    assert isinstance(result.exception, ConfigError)


def test_a_relative_access_log_is_made_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[ServeConfig] = []
    monkeypatch.setattr("serve.foreground.run", lambda source, config: calls.append(config))
    monkeypatch.chdir(tmp_path)
    CliRunner().invoke(cli.app, ["serve", "x.mar", "--access-log", "access.json"])
    assert [config.access_log for config in calls] == [str(tmp_path / "access.json")]


def test_reload_prints_the_new_version_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def swap(source: Path, url: str, say: Any) -> str:
        say("starting")
        return f"{source} {url}"

    monkeypatch.setattr("serve.reload.reload", swap)
    result = CliRunner().invoke(cli.app, ["reload", "new.mar", "--management-url", "http://127.0.0.1:9/"])
    assert result.stdout == "new.mar http://127.0.0.1:9\n"
    assert result.stderr == "starting\n"


def test_a_host_beyond_loopback_is_refused() -> None:
    result = CliRunner().invoke(cli.app, ["serve", "x.mar", "--host", "0.0.0.0"])
    assert isinstance(result.exception, ConfigError)


def test_healthcheck_of_nobody() -> None:
    result = CliRunner().invoke(cli.app, ["healthcheck", "--management-url", "http://127.0.0.1:1"])
    assert isinstance(result.exception, NotReadyError)
