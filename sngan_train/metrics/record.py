"""A score together with all that it depends on, and the refusal to compare what was measured in different ways."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sngan_train.errors import ConfigError, DataError, TrainError
from sngan_train.records import append_record, read_records

SCHEMA = "sngan-metrics/1"
METRICS_FILE = "metrics.jsonl"


class UnlikeProtocolsError(TrainError):
    """Two records were measured in different ways."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class MetricRecord:
    """What was found, of what, and how.

    Attributes:
        values: by metric; a value that is not finite is None.
        headline: the metric to judge by, a key of `values`; smaller is better.
        protocol: name, split, counts; `Protocol.to_dict`.
        extractor: `ExtractorFacts` as plain values.
        real: origin, count, image size and hash of the real images.
        generator: kind ("run" or "onnx"), weights ("ema" or "raw"), step, hashes, runtime.
        seed: of the generated images; image i follows from (seed, i).
        notes: what to know when reading the values.
        environment: versions, processor, duration: of no influence on the values beyond rounding.
    """

    step: int
    headline: str
    values: Mapping[str, float | None]
    protocol: Mapping[str, Any]
    extractor: Mapping[str, Any]
    real: Mapping[str, Any]
    generator: Mapping[str, Any]
    seed: int
    notes: tuple[str, ...] = ()
    environment: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def headline_value(self) -> float:
        """Infinite where the value is not finite, so that it is never the best."""
        value = self.values[self.headline]
        return float("inf") if value is None else value

    def to_dict(self) -> dict[str, Any]:
        """Plain values that `from_dict` reads back to an equal object."""
        return {"schema": SCHEMA, **dataclasses.asdict(self), "notes": list(self.notes)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str) -> MetricRecord:
        """Raises DataError, naming `where`, for another schema or a missing key. Unknown keys are let through."""
        if values.get("schema") != SCHEMA:
            raise DataError(f"{where}: schema {values.get('schema')!r} is not {SCHEMA!r}; it is no record of metrics")
        known = {field.name: values[field.name] for field in dataclasses.fields(cls) if field.name in values}
        try:
            record = cls(**{**known, "notes": tuple(known.get("notes", ()))})
            _ = record.headline_value
        except (TypeError, KeyError) as error:
            raise DataError(f"{where}: incomplete record of metrics ({error})") from error
        return record


def differences(a: MetricRecord, b: MetricRecord) -> list[str]:
    """What was done differently, in words; empty if the two may be compared.

    The generator and the seed may differ: they are what is compared. The images' origin is words, their hash counts.
    """
    found = []
    for section in ("protocol", "extractor", "real"):
        left, right = getattr(a, section), getattr(b, section)
        for key in sorted({*left, *right} - {"origin", "name"} | ({"name"} if section == "extractor" else set())):
            if left.get(key) != right.get(key):
                found.append(f"{section}.{key}: {left.get(key)} and {right.get(key)}")
    return found


def require_comparable(a: MetricRecord, b: MetricRecord) -> None:
    """Raise UnlikeProtocolsError, with every difference, unless `a` and `b` were measured alike."""
    found = differences(a, b)
    if found:
        raise UnlikeProtocolsError(
            f"these scores cannot be compared, they were measured differently: {'; '.join(found)}"
        )


def save_record(folder: Path, record: MetricRecord) -> None:
    """Append to `folder`/metrics.jsonl; raises TrainError if it cannot be written."""
    append_record(folder / METRICS_FILE, record.to_dict())


def saved_records(folder: Path) -> list[MetricRecord]:
    """All of `folder`/metrics.jsonl, oldest first."""
    path = folder / METRICS_FILE
    return [MetricRecord.from_dict(values, str(path)) for values in read_records(path)]


def read_record(path: Path) -> MetricRecord:
    """The record in a JSON file, or the newest of a run's folder or of its metrics.jsonl.

    Raises:
        ConfigError: there is none.
        DataError: not a record.
    """
    if path.is_dir() or path.name == METRICS_FILE:
        records = saved_records(path if path.is_dir() else path.parent)
        if not records:
            raise ConfigError(f"{path}: has not been evaluated yet; `sngan evaluate {path}` does")
        return records[-1]
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read as a record of metrics ({error})") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: not a record of metrics")
    return MetricRecord.from_dict(values, str(path))


def best_of(records: list[MetricRecord], like: MetricRecord) -> MetricRecord:
    """The lowest headline among those measured as `like` was, itself included; the earliest of equals."""
    comparable = [record for record in records if not differences(record, like) and record.headline == like.headline]
    return min([*comparable, like], key=lambda record: record.headline_value)
