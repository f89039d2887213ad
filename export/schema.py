"""The JSON Schemas of what an export writes: files beside this one, for whoever reads the formats in any language."""

from __future__ import annotations

import functools
import json
from importlib import resources
from typing import Any

from export.errors import ExportError, VerificationError

GENERATOR = "sngan-generator-1"  # the metadata of a generator file
EXPORT = "sngan-export-1"  # export_report.json
LONGEST_REASON = 200  # letters; a reason quotes what it is about, which may be a whole array


def schema_of(name: str) -> dict[str, Any]:
    """The schema `GENERATOR` or `EXPORT` (JSON Schema, draft 2020-12)."""
    text = resources.files("export.schemas").joinpath(f"{name}.schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def validates() -> bool:
    """Whether the package `jsonschema` is here to validate with."""
    try:
        import jsonschema  # noqa: F401
    except ModuleNotFoundError:
        return False
    return True


def require_valid(record: object, name: str) -> None:
    """Raise VerificationError, saying where, unless `record` fits the schema `name`.

    Raises ExportError without the package `jsonschema`.
    """
    try:
        from jsonschema.exceptions import best_match
    except ModuleNotFoundError as error:
        raise ExportError("validating needs jsonschema: `pip install 'sngan[export]'`") from error
    worst = best_match(_validator(name).iter_errors(record))
    if worst is not None:
        place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in worst.absolute_path)
        reason = worst.message if len(worst.message) <= LONGEST_REASON else f"{worst.message[:LONGEST_REASON]}…"
        raise VerificationError(f"does not fit the schema {name}: {place.lstrip('.') or 'the whole'}: {reason}")


@functools.cache
def _validator(name: str) -> Any:
    from jsonschema import Draft202012Validator
    from referencing import Registry, Resource

    # The export's schema refers to parts of the generator's, by its identifier.
    known: Registry[Any] = Registry().with_resources(
        (schema["$id"], Resource.from_contents(schema)) for schema in map(schema_of, (GENERATOR, EXPORT))
    )
    return Draft202012Validator(schema_of(name), registry=known)
