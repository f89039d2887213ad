"""With lines as TorchServe 0.12 printed them."""

from __future__ import annotations

import pytest

from serve.server_log import LAST_LINES, failure_reason, is_shown, last_lines, says_load_failed

STAMP = "2026-01-31T12:00:00,000"


def worker(*texts: str) -> list[str]:
    return [f"{STAMP} INFO  MODEL_LOG {text}" for text in texts]


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (f"{STAMP} WARN  MODEL_LOG sngan: request r1 failed:", True),
        (f"{STAMP} ERROR WorkerThread out of memory", True),
        ("java.lang.IllegalStateException: no", True),
        ("Caused by: java.lang.IllegalArgumentException: minimumReadableBytes: -1", True),
        ("\tat io.netty.channel.epoll.EpollEventLoop.run(EpollEventLoop.java:378) [model-server.jar:?]", False),
        ("\t... 16 more", False),
        (f"{STAMP} INFO  MODEL_LOG Torch worker started.", False),
        (f"{STAMP} INFO  MODEL_LOG", False),
        (
            "WARNING: sun.reflect.Reflection.getCallerClass is not supported. This will impact performance.",
            False,
        ),
        ('nvidia-smi not available or failed: Cannot run program "nvidia-smi"', False),
        ("", False),
    ],
)
def test_what_is_shown(line: str, shown: bool) -> None:
    assert is_shown(line) is shown


def test_failed_loads_are_noticed() -> None:
    assert says_load_failed(f"{STAMP} WARN  BatchAggregator Load model failed: sngan, error: Worker died.")
    assert says_load_failed(worker("Backend worker process died.")[0])
    assert not says_load_failed(worker("Torch worker started.")[0])


def test_the_handler_s_own_words_are_the_reason() -> None:
    lines = worker(
        "Traceback (most recent call last):",
        "handlers.errors.ProviderError: the cuda provider did not load",
        "RuntimeError: sngan: the cuda provider did not load",
        "Backend worker process died.",
        "RuntimeError: 500 - Unknown exception",
    )
    assert failure_reason(lines) == "the cuda provider did not load"


def test_else_the_first_exception_is() -> None:
    lines = worker(
        "Traceback (most recent call last):",
        "    raise ValueError: not this one, it is indented",
        "ModuleNotFoundError: No module named 'numpy'",
        "ModuleNotFoundError: No module named 'ts.torch_handler.sngan_handler'",
    )
    assert failure_reason(lines) == "ModuleNotFoundError: No module named 'numpy'"


def test_without_an_exception_the_last_lines_are_left() -> None:
    lines = [f"line {i}" for i in range(100)]
    assert failure_reason(lines) is None
    reason = last_lines(lines)
    assert reason.splitlines()[1] == f"line {100 - LAST_LINES}"
    assert reason.splitlines()[-1] == "line 99"
    assert last_lines([]) == "it printed nothing"
