"""A run that is evaluated on the way has the same weights, keeps its best checkpoint, and its records."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from export.metadata import generator_metadata
from sngan_train.checkpoint import best_checkpoint, list_checkpoints, open_checkpoint
from sngan_train.config import RunConfig
from sngan_train.data import ImageData
from sngan_train.errors import ConfigError
from sngan_train.metrics import during_training
from sngan_train.metrics.protocol import PROTOCOLS, Protocol
from sngan_train.metrics.record import METRICS_FILE, saved_records
from sngan_train.records import read_records

Train = Callable[[RunConfig, ImageData, Path], Path]


@pytest.fixture
def small_protocol(monkeypatch: pytest.MonkeyPatch, pixel_extractor: Any) -> Protocol:
    """What `quick` is, on few images and features that cost nothing."""
    few = dataclasses.replace(PROTOCOLS["quick"], real_images=21, fake_images=15, score_images=15)
    monkeypatch.setitem(PROTOCOLS, "quick", few)
    monkeypatch.setattr(during_training, "load_extractor", lambda name, device: pixel_extractor)
    monkeypatch.setattr(during_training, "REFERENCE_CACHE", None)
    return few


@pytest.fixture
def evaluated_config(tiny_config: RunConfig) -> RunConfig:
    return tiny_config.override({"training": {"evaluate_every": 1, "keep_checkpoints": 1}})


@pytest.mark.usefixtures("small_protocol")
def test_every_step_is_recorded_and_the_best_is_kept(
    evaluated_config: RunConfig, tiny_data: ImageData, train_quietly: Train, tmp_path: Path
) -> None:
    last = train_quietly(evaluated_config, tiny_data, tmp_path)
    records = saved_records(tmp_path)
    assert [record.step for record in records] == [1, 2, 3, 4]
    best = min(records, key=lambda record: record.headline_value)
    kept = best_checkpoint(tmp_path)
    assert kept is not None
    assert open_checkpoint(kept).step == best.step
    assert list_checkpoints(tmp_path) == sorted({kept, last})
    logged = [record for record in read_records(tmp_path / "stats.jsonl") if "metrics" in record]
    assert [record["metrics"][best.headline] for record in logged] == [record.headline_value for record in records]


@pytest.mark.usefixtures("small_protocol")
def test_being_measured_changes_no_weight(
    evaluated_config: RunConfig, tiny_config: RunConfig, tiny_data: ImageData, train_quietly: Train, tmp_path: Path
) -> None:
    measured = train_quietly(evaluated_config, tiny_data, tmp_path / "measured")
    left_alone = train_quietly(tiny_config, tiny_data, tmp_path / "left-alone")
    for name in ("generator", "discriminator", "generator_ema"):
        first, second = (load_file(path / f"{name}.safetensors") for path in (measured, left_alone))
        assert all(first[key].equal(second[key]) for key in second), name


@pytest.mark.usefixtures("small_protocol")
def test_the_records_of_the_exported_weights_go_into_the_file(
    evaluated_config: RunConfig, tiny_data: ImageData, train_quietly: Train, tmp_path: Path
) -> None:
    last = open_checkpoint(train_quietly(evaluated_config, tiny_data, tmp_path))
    (record,) = generator_metadata(last, version="1.0").metrics
    assert record["step"] == 4
    assert record["generator"]["checkpoint_meta_sha256"] == last.meta_sha256
    assert record["protocol"]["fake_images"] == 15
    assert "environment" not in record


def test_a_best_that_is_not_there_is_none(tmp_path: Path) -> None:
    assert best_checkpoint(tmp_path) is None
    (tmp_path / "best.json").write_text("torn")
    assert best_checkpoint(tmp_path) is None
    (tmp_path / "best.json").write_text('{"step": 3}')
    assert best_checkpoint(tmp_path) is None


def test_an_unknown_protocol_ends_the_run_before_it_begins(
    tiny_config: RunConfig, tiny_data: ImageData, train_quietly: Train, tmp_path: Path
) -> None:
    config = tiny_config.override({"training": {"evaluate_every": 1, "evaluate_protocol": "papr"}})
    with pytest.raises(ConfigError, match="did you mean paper"):
        train_quietly(config, tiny_data, tmp_path)
    assert not (tmp_path / METRICS_FILE).exists()
