from pathlib import Path

import pytest

from sngan_train.errors import TrainError
from sngan_train.records import append_record, drop_records_after, read_records


def test_what_is_appended_is_read_back_in_order(tmp_path: Path) -> None:
    path = tmp_path / "stats.jsonl"
    records = [{"step": 1, "a": 0.5}, {"step": 2, "warning": "σ, « and \u2028 stay on one line"}]
    for record in records:
        append_record(path, record)
    assert read_records(path) == records
    assert len(path.read_bytes().splitlines()) == 2
    assert read_records(tmp_path / "absent.jsonl") == []


def test_later_steps_and_a_torn_line_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "stats.jsonl"
    path.write_bytes(b'{"step": 10}\n{"step": 20}\n{"step": 30}\n{"step": 4')  # torn by a kill
    assert [record["step"] for record in read_records(path)] == [10, 20, 30]
    drop_records_after(path, 20)
    append_record(path, {"step": 21})
    assert path.read_text() == '{"step": 10}\n{"step": 20}\n{"step": 21}\n'


def test_a_number_that_json_does_not_know_is_our_own_mistake(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        append_record(tmp_path / "stats.jsonl", {"step": 1, "loss": float("nan")})


def test_a_file_that_cannot_be_written_says_which(tmp_path: Path) -> None:
    (tmp_path / "stats.jsonl").mkdir()
    with pytest.raises(TrainError, match=r"stats\.jsonl: cannot be written to \(Is a directory\)"):
        append_record(tmp_path / "stats.jsonl", {"step": 1})
