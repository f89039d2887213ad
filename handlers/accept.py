"""Which of our formats a request's Accept header asks for (RFC 9110, section 12.5.1, without parameters)."""

from __future__ import annotations

from collections.abc import Sequence

from handlers.errors import Detail, RequestError

# In the order of our own preference.
MEDIA_TYPES = {
    "png": "image/png",
    "json": "application/json",
    "webp": "image/webp",
    "jpeg": "image/jpeg",
    "zip": "application/zip",
    "npy": "application/x-npy",  # NumPy's own format has no registered name; this is the usual one
}


def format_for(accept: str | None, offered: Sequence[str] = tuple(MEDIA_TYPES)) -> str:
    """The name of the format that `accept` likes best; the first of those `offered` without the header.

    Of two formats that it likes equally, the one that it names more exactly wins, then the first.

    Raises:
        RequestError: 406 when it takes none of those offered.
    """
    if accept is None or not accept.strip():
        return offered[0]
    ranges = [entry for entry in map(_media_range, accept.split(",")) if entry is not None]
    best_name, best_rank = "", (0.0, 0)
    for name in offered:
        media_type = MEDIA_TYPES[name]
        patterns = ("*/*", f"{media_type.partition('/')[0]}/*", media_type)
        # The most exact pattern that matches gives the quality, whatever the others say.
        matches = [(patterns.index(pattern), quality) for pattern, quality in ranges if pattern in patterns]
        if matches:
            exactness, quality = max(matches)
            if quality > 0 and (quality, exactness) > best_rank:
                best_name, best_rank = name, (quality, exactness)
    if not best_name:
        allowed = ", ".join(MEDIA_TYPES[name] for name in offered)
        raise RequestError(
            406,
            "NotAcceptable",
            f"the Accept header takes none of {allowed}; send one of them, or */*, or the field `format`",
            [Detail(field="accept", reason="takes none of the media types offered", allowed=allowed)],
        )
    return best_name


def _media_range(entry: str) -> tuple[str, float] | None:
    """("image/*", 0.8) of "image/*;q=0.8"; None when the quality is not a number from 0 to 1."""
    pattern, *parameters = (part.strip().lower() for part in entry.split(";"))
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                quality = float(value)
            except ValueError:
                return None
            return (pattern, quality) if 0.0 <= quality <= 1.0 else None
    return pattern, 1.0
