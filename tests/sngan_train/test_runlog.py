import json
from pathlib import Path

import pytest

from sngan_train.errors import DivergenceError
from sngan_train.runlog import RunLog, check_losses


def log(run_dir: Path, start_step: int) -> RunLog:
    run_dir.mkdir(exist_ok=True)
    return RunLog(run_dir, start_step=start_step, total_steps=100, images_per_step=64, quiet=True)


def test_records_are_one_json_object_a_line(tmp_path: Path) -> None:
    with log(tmp_path, 0) as run_log:
        run_log.losses(10, 1.5, -0.25, 2e-4)
        run_log.losses(20, 1.25, 0.5, 1e-4)
    records = [json.loads(line) for line in (tmp_path / "stats.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == [10, 20]
    assert records[0]["discriminator_loss"] == 1.5
    assert records[1]["generator_learning_rate"] == 1e-4
    assert all(record["real_images_per_s"] > 0 for record in records)


def test_steps_that_will_be_done_again_are_forgotten(tmp_path: Path) -> None:
    lines = [json.dumps({"step": step}) for step in (10, 20, 30)]
    (tmp_path / "stats.jsonl").write_text("\n".join(lines) + '\n{"step": 4')  # torn by a kill
    log(tmp_path, 20)
    assert [json.loads(line)["step"] for line in (tmp_path / "stats.jsonl").read_text().splitlines()] == [10, 20]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_loss_that_is_no_number_says_what_is_left(value: float, tmp_path: Path) -> None:
    check_losses({"generator loss": 1.0}, 5, None)
    with pytest.raises(DivergenceError, match=r"generator loss became .* at step 5; no checkpoint was written"):
        check_losses({"generator loss": value}, 5, None)
    with pytest.raises(DivergenceError, match="last good checkpoint is"):
        check_losses({"generator loss": value}, 5, tmp_path)


def test_a_terminal_sees_a_bar_and_a_pipe_sees_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_log = RunLog(tmp_path, start_step=0, total_steps=100, images_per_step=64)
    with run_log:
        run_log.losses(10, 1.5, -0.25, 2e-4)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "step 10/100  D 1.500  G -0.250" in captured.err
    assert "left" in captured.err
