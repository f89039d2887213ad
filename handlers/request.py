"""What one request asks for, checked: fields → `ImageRequest`.

Every field may be left out. An unknown field is refused with the nearest known name, because a misspelt field
that is ignored gives a wrong picture without a word. All that is wrong is said at once, field by field.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import secrets
from collections.abc import Mapping
from typing import Any

from handlers.accept import MEDIA_TYPES, format_for
from handlers.body import read_fields, shown
from handlers.errors import Detail, RequestError
from handlers.latents import MAX_SEED
from handlers.metadata import GeneratorMetadata

FIELDS = ("class", "n", "seed", "truncation", "format")
MAX_IMAGES = 64
MAX_TRUNCATION = 2.0
MAX_DETAILS = 10  # a body of a megabyte can hold a hundred thousand wrong fields
DIGITS = re.compile(r"[0-9]{1,64}")
MAX_HINTED_CHARACTERS = 64  # looking for the nearest name takes time that grows with the square of the length


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ImageRequest:
    """A request that can be answered.

    Attributes:
        n: images, 1 ... 64.
        seed: 0 ... 2**32 - 1; image i depends on (seed, i, class, truncation) alone.
        classes: one class id an image, or None: each image's class comes from the seed. Always None for an
            unconditional model.
        truncation: the bound t of |z| ≤ t, or None: no bound.
        format: "png" or "json".
    """

    n: int
    seed: int
    classes: tuple[int, ...] | None
    truncation: float | None
    format: str = "png"


def parse_request(data: Mapping[str, Any], headers: Mapping[str, str], metadata: GeneratorMetadata) -> ImageRequest:
    """The request behind one element of what TorchServe gives `handle`.

    Args:
        data: the body under "body", or a form's fields.
        headers: names in lower case.
        metadata: of the model that will answer.

    Raises:
        RequestError: 400, 406, 415 or 422.
    """
    return request_from_fields(read_fields(data, headers), metadata, headers.get("accept"))


def request_from_fields(
    fields: Mapping[str, Any], metadata: GeneratorMetadata, accept: str | None = None
) -> ImageRequest:
    """Check the fields of a JSON object.

    `"truncation": null` means no bound; without the field the model's default holds. `"class": null` and no
    field mean the same: drawn from the seed. A seed is drawn when none is given. `format` beats `accept`.

    Raises:
        RequestError: 400 for an unknown field, 422 for a value that cannot be taken, 406 for `accept`.
    """
    unknown = [_unknown_field(name) for name in fields if name not in FIELDS]
    if unknown:
        raise _error(400, "UnknownField", unknown)

    problems: list[Detail] = []
    names_or_ids = fields.get("class")
    default_n = 1
    if isinstance(names_or_ids, list) and 1 <= len(names_or_ids) <= MAX_IMAGES:
        default_n = len(names_or_ids)
    n = _integer("n", fields.get("n", default_n), 1, MAX_IMAGES, problems)
    seed = _integer("seed", fields.get("seed", 0), 0, MAX_SEED, problems)
    if "seed" not in fields:
        seed = secrets.randbelow(MAX_SEED + 1)
    classes = _classes(names_or_ids, n, metadata, problems)
    truncation = metadata.default_truncation
    if "truncation" in fields:
        truncation = _truncation(fields["truncation"], metadata, problems)
    chosen_format = _format(fields["format"], problems) if "format" in fields else ""
    if problems:
        raise _error(422, "InvalidField", problems)
    return ImageRequest(
        n=n, seed=seed, classes=classes, truncation=truncation, format=chosen_format or format_for(accept)
    )


def _error(code: int, type: str, details: list[Detail]) -> RequestError:
    """All of `details` in one error; its message is the first, with the number of the others."""
    first = details[0]
    more = f" (and {len(details) - 1} more, see details)" if len(details) > 1 else ""
    message = f"{first.field}: {first.reason}; allowed: {first.allowed}{more}"
    return RequestError(code, type, message, details[:MAX_DETAILS])


def _unknown_field(name: str) -> Detail:
    return Detail(
        field=shown(name)[1:-1],
        reason=f"unknown field{_hint(name, FIELDS)}",
        allowed=", ".join(FIELDS),
    )


def _hint(given: str, known: tuple[str, ...]) -> str:
    """`, did you mean "frog"?` or nothing. Letter case does not count."""
    if len(given) > MAX_HINTED_CHARACTERS:
        return ""
    by_folded = {name.casefold(): name for name in known}
    close = difflib.get_close_matches(given.casefold(), by_folded, n=1)
    return f", did you mean {shown(by_folded[close[0]])}?" if close else ""


def _integer(field: str, value: Any, low: int, high: int, problems: list[Detail]) -> int:
    """`value` if it is an integer from `low` to `high`; else `low`, and one more problem."""
    is_integer = isinstance(value, int) and not isinstance(value, bool)
    if is_integer and low <= value <= high:
        return int(value)
    reason = f"{shown(value)} is out of range" if is_integer else f"{shown(value)} is not an integer"
    problems.append(Detail(field=field, reason=reason, allowed=f"an integer, {low} ... {high}"))
    return low


def _truncation(value: Any, metadata: GeneratorMetadata, problems: list[Detail]) -> float | None:
    if value is None:
        return None
    if metadata.latent_distribution != "normal":
        reason = f"this model's latents are {metadata.latent_distribution}; truncation is for normal latents"
        problems.append(Detail(field="truncation", reason=reason, allowed="null, or leave it out"))
        return None
    # The comparison is false for NaN, and exact for integers too long for a float.
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= MAX_TRUNCATION:
        return float(value)
    reason = f"{shown(value)} cannot be used"
    problems.append(
        Detail(field="truncation", reason=reason, allowed=f"a number, 0 < t <= {MAX_TRUNCATION:g}, or null")
    )
    return None


def _format(value: Any, problems: list[Detail]) -> str:
    if isinstance(value, str) and value in MEDIA_TYPES:
        return value
    hint = _hint(value, tuple(MEDIA_TYPES)) if isinstance(value, str) else ""
    problems.append(Detail(field="format", reason=f"{shown(value)} is not known{hint}", allowed=", ".join(MEDIA_TYPES)))
    return ""


def _classes(value: Any, n: int, metadata: GeneratorMetadata, problems: list[Detail]) -> tuple[int, ...] | None:
    """One class id an image, or None where the seed decides."""
    if value is None:
        return None
    if metadata.num_classes == 0:
        problems.append(Detail(field="class", reason="this model has no classes", allowed="null, or leave it out"))
        return None
    entries = value if isinstance(value, list) else [value]
    if len(entries) not in (1, n):
        reason = f"{shown(value)} does not fit n = {n}"
        problems.append(Detail(field="class", reason=reason, allowed="a list of 1 or n entries, n <= 64"))
        return None
    ids = [_class_id(entry, metadata, problems) for entry in entries]
    return tuple(ids) if len(ids) == n else tuple(ids) * n


def _class_id(entry: Any, metadata: GeneratorMetadata, problems: list[Detail]) -> int:
    """The id behind an id or a name; else 0, and one more problem.

    A command line has no numbers, only text, so digits in quotes may be an id; but not where any class has digits for a
    name, for there a name is meant.
    """
    names = metadata.class_names
    ids = f"an id 0 ... {len(names) - 1}"
    hint = ""
    if _is_digits(entry) and not any(map(_is_digits, names)):
        entry = int(entry)
    if isinstance(entry, int) and not isinstance(entry, bool):
        if 0 <= entry < len(names):
            return entry
        reason = f"{shown(entry)} is out of range"
    elif isinstance(entry, str):
        if entry in names:
            return names.index(entry)
        folded = [index for index, name in enumerate(names) if name.casefold() == entry.casefold()]
        if len(folded) == 1:
            return folded[0]
        if folded:
            reason = f"{shown(entry)} fits {len(folded)} classes whose names differ in letter case alone"
        else:
            # With ten thousand names one hint takes a tenth of a second, and a request can hold 64 wrong ones.
            hint = "" if any(problem.field == "class" for problem in problems) else _hint(entry, names)
            reason = f"{shown(entry)} is no class of this model{hint}"
    else:
        reason = f"{shown(entry)} is neither an id nor a name"
    problems.append(Detail(field="class", reason=reason, allowed=f"{ids}, or {_listed(names)}"))
    return 0


def _is_digits(entry: object) -> bool:
    return isinstance(entry, str) and DIGITS.fullmatch(entry) is not None


def _listed(names: tuple[str, ...]) -> str:
    """A name of `names`, or the first ten of many."""
    listed = ", ".join(shown(name) for name in names[:10])
    return f"a name: {listed}" + (f", … ({len(names)} classes)" if len(names) > 10 else "")
