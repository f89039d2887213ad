"""A cell's file is enough to go on from, and is not taken for another cell's."""

import dataclasses
import json
from pathlib import Path

import pytest

from sngan_train.errors import ConfigError, DataError, TrainError
from sngan_train.presets import find_preset
from sngan_train.study.cell import Cell, CellResult, read_result, result_path, write_result


def cell(**changes: object) -> Cell:
    config = find_preset("paper/cifar10-cnn/sn/A").override(changes)
    return Cell(
        name="cifar10-cnn/sn/A/seed-0",
        axes={"method": "sn", "setting": "A", "seed": "0"},
        config=config,
        protocol="quick",
        features="efficientnet-lite0",
    )


def result(one: Cell, **fields: object) -> CellResult:
    values = {"name": one.name, "axes": one.axes, "fingerprint": one.fingerprint, "status": "done", **fields}
    return CellResult(**values)  # type: ignore[arg-type]


def test_result_and_cell_survive_the_disk(tmp_path: Path) -> None:
    one = cell()
    written = result(
        one,
        collapse_warnings=("step 3: flat",),
        record={"values": {"KID": 0.5}},
        curve=((10, 0.75), (20, 0.5)),
        train_seconds=2.5,
    )
    assert read_result(tmp_path, one) is None
    write_result(tmp_path, written)
    assert read_result(tmp_path, one) == written
    assert written.value("KID") == 0.5
    assert result(one).value("KID") is None
    assert Cell.from_dict(json.loads(json.dumps(one.to_dict()))) == one


@pytest.mark.parametrize(
    "changes",
    [
        {"training": {"total_steps": 7}},
        {"training": {"seed": 1}},
        {"data": {"image_size": 48}},
        {"discriminator": {"channels": 8}},
        {"optimizer": {"critic_steps": 2}},
    ],
)
def test_a_result_of_other_settings_is_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    write_result(tmp_path, result(cell()))
    with pytest.raises(ConfigError, match="other settings"):
        read_result(tmp_path, cell(**changes))


def test_where_images_lie_and_how_a_run_is_watched_change_nothing() -> None:
    same = cell(data={"source": "folder:elsewhere"}, training={"log_every": 7, "compile": False, "save_every": 3})
    assert same.fingerprint == cell().fingerprint
    assert dataclasses.replace(cell(), protocol="paper").fingerprint != cell().fingerprint


def test_a_failed_cell_is_run_again_whatever_it_was(tmp_path: Path) -> None:
    write_result(tmp_path, result(cell(training={"total_steps": 7}), status="failed", reason="no memory"))
    found = read_result(tmp_path, cell())
    assert found is not None
    assert not found.finished
    assert result(cell(), status="diverged").finished


def test_a_torn_file_is_told_apart(tmp_path: Path) -> None:
    path = result_path(tmp_path, cell().name)
    path.parent.mkdir(parents=True)
    for text in ("{", "[]", '{"format": "else"}', '{"format": "sngan-study-cell/1"}'):
        path.write_text(text)
        with pytest.raises(DataError):
            read_result(tmp_path, cell())


def test_nothing_is_left_where_it_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "cells").write_text("a file where the folder should be")
    with pytest.raises(TrainError, match="cannot be written"):
        write_result(tmp_path, result(cell()))
