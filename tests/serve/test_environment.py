from __future__ import annotations

from pathlib import Path

import pytest

from serve.environment import java_environment

FOLDER = Path("/private")


def test_java_and_its_workers_write_into_our_folder_and_take_no_orders() -> None:
    mine = {"PATH": "/bin", "PYTHONPATH": "/mine", "TS_CONFIG_FILE": "/evil", "TEMP": "/x", "TMPDIR": "/x"}
    environment = java_environment(mine, FOLDER, "cpu")
    assert environment["PATH"] == "/bin"
    assert environment["TEMP"] == environment["TMPDIR"] == "/private/temp"
    assert environment["LOG_LOCATION"] == environment["METRICS_LOCATION"] == "/private/logs"
    assert "TS_CONFIG_FILE" not in environment


def test_the_model_s_folder_comes_first_and_torch_last(monkeypatch: pytest.MonkeyPatch) -> None:
    assert java_environment({"PYTHONPATH": "/mine"}, FOLDER, "cpu")["PYTHONPATH"] == ".:/mine:/private/stand_in"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    assert java_environment({}, FOLDER, "cuda")["PYTHONPATH"] == "."


@pytest.mark.parametrize(
    "name",
    [
        "AWS_SECRET_ACCESS_KEY",
        "AWS_ACCESS_KEY_ID",
        "HF_TOKEN",
        "GITHUB_TOKEN",
        "DB_PASSWORD",
        "pgpassword",
        "OPENAI_API_KEY",
        "APIKEY",
        "GOOGLE_APPLICATION_CREDENTIALS",
        "SSH_AUTH_SOCK",
        "SENTRY_DSN",
        "DATABASE_URL",
        "AZURE_STORAGE_CONNECTION_STRING",
    ],
)
def test_secrets_stay_with_us(name: str) -> None:
    assert name not in java_environment({name: "x"}, FOLDER, "cpu")


@pytest.mark.parametrize("name", ["HOME", "LANG", "OMP_NUM_THREADS", "GIT_AUTHOR_NAME", "KEYBOARD", "PWD", "CUDA_HOME"])
def test_what_is_no_secret_goes_on(name: str) -> None:
    assert java_environment({name: "x"}, FOLDER, "cpu")[name] == "x"
