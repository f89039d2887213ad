from __future__ import annotations

import pytest

from handlers.accept import format_for
from handlers.errors import RequestError


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, "png"),
        ("", "png"),
        ("*/*", "png"),
        ("image/png", "png"),
        ("image/*", "png"),
        ("application/json", "json"),
        ("application/*", "json"),
        ("Application/JSON; charset=utf-8", "json"),
        ("image/png;q=0.1, application/json;q=0.2", "json"),
        ("image/png;q=0.2, application/json;q=0.1", "png"),
        ("image/png, application/json", "png"),
        ("image/webp, image/*;q=0.5", "webp"),
        ("image/jpeg;q=0.9, image/png;q=0.2", "jpeg"),
        ("application/zip", "zip"),
        ("application/x-npy, application/zip;q=0.9", "npy"),
        ("image/*, image/png;q=0", "webp"),
        # the defaults of a JavaScript client that wants JSON, and of a browser's <img>
        ("application/json, text/plain, */*", "json"),
        ("image/avif,image/webp,image/*,*/*;q=0.8", "webp"),
        ("*/*, image/png;q=0", "json"),
        ("text/html, application/json;q=0.5, image/png;q=x", "json"),
    ],
)
def test_the_best_liked_format_is_chosen(accept: str | None, expected: str) -> None:
    assert format_for(accept) == expected


@pytest.mark.parametrize("accept", ["text/html", "image/gif", "*/*;q=0", "image/png;q=0", "nonsense", "q=1"])
def test_nothing_that_fits_is_406(accept: str) -> None:
    with pytest.raises(RequestError, match="image/png, application/json") as caught:
        format_for(accept)
    assert caught.value.code == 406


def test_only_what_is_offered_is_chosen() -> None:
    assert format_for(None, ("json",)) == "json"
    assert format_for("image/png;q=0.9, */*;q=0.1", ("json",)) == "json"
    with pytest.raises(RequestError, match="takes none of application/json;"):
        format_for("image/png", ("json",))
