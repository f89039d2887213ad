"""Checks of single values of a request: the value that was meant, or one more problem in a list.

What is wrong is collected, not raised, so that a client hears of all of it at once.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection
from typing import Any

from handlers.body import shown
from handlers.errors import Detail, RequestError

MAX_DETAILS = 10  # a body of a megabyte can hold a hundred thousand wrong fields
MAX_HINTED_CHARACTERS = 64  # looking for the nearest name takes time that grows with the square of the length


def error_of(code: int, type: str, details: list[Detail], total: int | None = None) -> RequestError:
    """All of `details`, of which there is at least one, in one error.

    Its message is the first, with the number of the others; `total` counts those that were found, if more than told.
    """
    first = details[0]
    total = total or len(details)
    more = f" (and {total - 1} more, see details)" if total > 1 else ""
    message = f"{first.field}: {first.reason}; allowed: {first.allowed}{more}"
    return RequestError(code, type, message, details[:MAX_DETAILS])


def refuse_unknown(fields: Collection[str], known: Collection[str]) -> None:
    """Raise RequestError, 400, if any of `fields` is none of `known`."""
    unknown = [name for name in fields if name not in known]
    if unknown:
        # Looking for the nearest name takes time: not for a hundred thousand.
        details = [unknown_field(name, known) for name in unknown[:MAX_DETAILS]]
        raise error_of(400, "UnknownField", details, len(unknown))


def unknown_field(name: str, known: Collection[str]) -> Detail:
    """What to say of a field that is none of `known`."""
    return Detail(
        field=shown(name)[1:-1],
        reason=f"unknown field{nearest(name, known)}",
        allowed=", ".join(known),
    )


def nearest(given: str, known: Collection[str]) -> str:
    """`, did you mean "frog"?` or nothing. Letter case does not count."""
    if len(given) > MAX_HINTED_CHARACTERS:
        return ""
    by_folded = {name.casefold(): name for name in known}
    close = difflib.get_close_matches(given.casefold(), by_folded, n=1)
    return f", did you mean {shown(by_folded[close[0]])}?" if close else ""


def integer(field: str, value: Any, low: int, high: int, problems: list[Detail]) -> int:
    """`value` if it is an integer from `low` to `high`; else `low`, and one more problem."""
    is_integer = isinstance(value, int) and not isinstance(value, bool)
    if is_integer and low <= value <= high:
        return int(value)
    reason = f"{shown(value)} is out of range" if is_integer else f"{shown(value)} is not an integer"
    problems.append(Detail(field=field, reason=reason, allowed=f"an integer, {low} ... {high}"))
    return low


def boolean(field: str, value: Any, problems: list[Detail]) -> bool:
    """`value` if it is true or false; else false, and one more problem."""
    if isinstance(value, bool):
        return value
    problems.append(Detail(field=field, reason=f"{shown(value)} is not a boolean", allowed="true, false"))
    return False


def choice(field: str, value: Any, known: Collection[str], problems: list[Detail]) -> str:
    """`value` if it is one of `known`; else "", and one more problem."""
    if isinstance(value, str) and value in known:
        return value
    hint = nearest(value, known) if isinstance(value, str) else ""
    problems.append(Detail(field=field, reason=f"{shown(value)} is not known{hint}", allowed=", ".join(known)))
    return ""


def is_number(value: Any, low: float, high: float) -> bool:
    """Whether `value` is a JSON number from `low` to `high`.

    The comparison is false for NaN, and exact for integers too long for a float.
    """
    return isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high
