from __future__ import annotations

import pytest

from handlers.tracing import echoed

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"  # the example of W3C's Trace Context


def test_both_are_handed_back() -> None:
    headers = {"x-correlation-id": "a.B_9:/+=@-", "traceparent": TRACE, "x-other": "1"}
    assert echoed(headers) == {"X-Correlation-ID": "a.B_9:/+=@-", "traceparent": TRACE}
    assert echoed({"x-correlation-id": "x" * 128}) == {"X-Correlation-ID": "x" * 128}
    assert echoed({}) == {}


@pytest.mark.parametrize("value", ["", "x" * 129, "a b", "a\r\nSet-Cookie: x", "é", "a\n", "<script>", "a,b"])
def test_a_correlation_id_of_another_form_is_not(value: str) -> None:
    assert echoed({"x-correlation-id": value}) == {}


@pytest.mark.parametrize(
    "value",
    [
        TRACE.upper(), TRACE + "-00", TRACE[:-1], "01" + TRACE[2:], TRACE + "\n", "ff" + TRACE[2:],
        "00-" + "0" * 32 + TRACE[35:], TRACE[:36] + "0" * 16 + "-01",
    ],
)  # fmt: skip
def test_a_traceparent_of_another_form_is_not(value: str) -> None:
    assert echoed({"traceparent": value}) == {}
