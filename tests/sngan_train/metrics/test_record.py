"""Records survive the disk, and unlike ones are not compared."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from sngan_train.errors import ConfigError, DataError
from sngan_train.metrics.record import (
    MetricRecord,
    UnlikeProtocolsError,
    best_of,
    differences,
    read_record,
    require_comparable,
    save_record,
    saved_records,
)


def record(step: int = 100, value: float | None = 0.5, **changes: Any) -> MetricRecord:
    fields: dict[str, Any] = {
        "step": step,
        "headline": "KID",
        "values": {"KID": value, "recall": 0.25},
        "protocol": {"name": "quick", "real_split": "train", "fake_images": 2000},
        "extractor": {"name": "inception", "input_size": 299, "weights_sha256": "ab"},
        "real": {"origin": "digits", "images": 1797, "sha256": "cd"},
        "generator": {"kind": "run", "weights": "ema"},
        "seed": 0,
        "notes": ("a note",),
    }
    return MetricRecord(**{**fields, **changes})


def test_a_saved_record_is_read_back_equal(tmp_path: Path) -> None:
    save_record(tmp_path, record(1))
    save_record(tmp_path, record(2, None))
    assert saved_records(tmp_path) == [record(1), record(2, None)]
    assert read_record(tmp_path) == record(2, None)
    single = tmp_path / "one.json"
    single.write_text(json.dumps(record(3).to_dict()))
    assert read_record(single) == record(3)


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("protocol", "fake_images", 5000),
        ("protocol", "real_split", "test"),
        ("extractor", "name", "efficientnet-lite0"),
        ("extractor", "weights_sha256", "ff"),
        ("extractor", "input_size", 96),
        ("real", "sha256", "ee"),
        ("real", "images", 1000),
    ],
)
def test_unlike_protocols_are_refused_with_the_difference_named(section: str, key: str, value: object) -> None:
    one = record()
    other = dataclasses.replace(one, **{section: {**getattr(one, section), key: value}})
    with pytest.raises(UnlikeProtocolsError, match=rf"{section}\.{key}: .* and {value}"):
        require_comparable(one, other)


def test_generators_seeds_names_and_origins_may_differ() -> None:
    other = record(
        7,
        generator={"kind": "onnx"},
        seed=3,
        real={"origin": "a copy of digits", "images": 1797, "sha256": "cd"},
        protocol={"name": "the same by another name", "real_split": "train", "fake_images": 2000},
    )
    assert differences(record(), other) == []


def test_the_best_is_the_lowest_that_was_measured_alike_and_is_finite() -> None:
    unlike = record(5, 0.01, protocol={"name": "paper", "real_split": "train", "fake_images": 5000})
    last = record(40, 0.4)
    assert best_of([record(10, 0.9), record(20, 0.3), record(30, None), unlike], last).step == 20
    assert best_of([], last) is last
    assert best_of([record(1, None)], last) is last


def test_what_is_no_record_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has not been evaluated yet"):
        read_record(tmp_path)
    bad = tmp_path / "bad.json"
    bad.write_text("{")
    with pytest.raises(ConfigError, match="cannot be read as a record"):
        read_record(bad)
    bad.write_text('{"schema": "else/1"}')
    with pytest.raises(DataError, match="no record of metrics"):
        read_record(bad)
    values = record().to_dict()
    del values["values"]
    bad.write_text(json.dumps(values))
    with pytest.raises(DataError, match="incomplete"):
        read_record(bad)
