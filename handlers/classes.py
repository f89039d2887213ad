"""The classes that a request asks for, by id or by name."""

from __future__ import annotations

import re
from typing import Any

from handlers.body import shown
from handlers.checks import nearest
from handlers.errors import Detail
from handlers.metadata import GeneratorMetadata

DIGITS = re.compile(r"[0-9]{1,64}")


def class_ids(value: Any, n: int, metadata: GeneratorMetadata, problems: list[Detail]) -> tuple[int, ...] | None:
    """One class id an image, or None where the seed decides.

    Args:
        value: the field `class`: an id, a name, a list of 1 or `n` of them, or None.
        n: images, 1 ... 64.
        metadata: of the model that will answer; one without classes takes None alone.
        problems: grows by what is wrong.
    """
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
            hint = "" if any(problem.field == "class" for problem in problems) else nearest(entry, names)
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
