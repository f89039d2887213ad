from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sngan_train.config import RunConfig
from sngan_train.models import Generator, build_discriminator, build_generator
from sngan_train.models.spectral_norm import SigmaSource, set_exact_sigma
from sngan_train.runlog import RunLog, SilentLog
from sngan_train.watch import FLOOR_RECORDS, CollapseWatch

CLASSES = ("a", "b", "c")


def log(run_dir: Path, start_step: int = 0, *, quiet: bool = True) -> RunLog:
    run_dir.mkdir(exist_ok=True)
    return RunLog(
        run_dir,
        start_step=start_step,
        total_steps=100,
        images_per_step=64,
        watch=CollapseWatch("hinge"),
        quiet=quiet,
    )


def losses(discriminator: float = 1.5, generator: float = -0.25) -> dict[str, float]:
    return {"discriminator_loss": discriminator, "generator_loss": generator}


def sample_generator(config: RunConfig) -> Generator:
    torch.manual_seed(0)
    generator = build_generator(config, len(CLASSES), source=SigmaSource.FIXED).eval()
    set_exact_sigma(generator)
    return generator


def stats(run_dir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run_dir / "stats.jsonl").read_text().splitlines()]


def board(run_dir: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(run_dir / "tensorboard"))
    accumulator.Reload()
    return accumulator


def test_scalars_are_a_record_and_curves(tmp_path: Path) -> None:
    with log(tmp_path) as run_log:
        run_log.scalars(10, losses() | {"generator_learning_rate": 2e-4})
        run_log.scalars(20, losses(1.25, 0.5) | {"generator_learning_rate": 1e-4})
    records = stats(tmp_path)
    assert [record["step"] for record in records] == [10, 20]
    assert records[0]["discriminator_loss"] == 1.5
    assert records[1]["generator_learning_rate"] == 1e-4
    assert all(record["real_images_per_s"] > 0 for record in records)
    assert {"step", "time_unix_s", *(tag.removeprefix("training/") for tag in board(tmp_path).Tags()["scalars"])} == (
        records[0].keys()
    )
    curve = board(tmp_path).Scalars("training/discriminator_loss")
    assert [(event.step, event.value) for event in curve] == [(10, 1.5), (20, 1.25)]


def test_a_resumed_run_forgets_what_it_will_do_again(tmp_path: Path, tiny_config: RunConfig) -> None:
    generator = sample_generator(tiny_config)
    with log(tmp_path) as run_log:
        for step in (10, 20, 30):
            run_log.scalars(step, losses())
            run_log.samples(step, generator, CLASSES)
            run_log.spectrum(step, {"generator": generator})
    with log(tmp_path, start_step=20) as run_log:
        run_log.scalars(21, losses())
    for name in ("stats.jsonl", "spectrum.jsonl"):
        steps = {json.loads(line)["step"] for line in (tmp_path / name).read_text().splitlines()}
        assert steps == {10, 20} | ({21} if name == "stats.jsonl" else set())
    assert sorted(path.name for path in (tmp_path / "samples").iterdir()) == ["step-000010.png", "step-000020.png"]
    events = board(tmp_path)
    assert [event.step for event in events.Scalars("training/generator_loss")] == [10, 20, 21]
    assert [event.step for event in events.Images("samples/fixed_latents")] == [10, 20]


def test_samples_and_spectra_are_on_the_disk_and_on_the_board(tmp_path: Path, tiny_config: RunConfig) -> None:
    generator = sample_generator(tiny_config)
    with log(tmp_path) as run_log:
        run_log.samples(7, generator, CLASSES)
        run_log.spectrum(7, {"discriminator": build_discriminator(tiny_config, 3)})
    events = board(tmp_path)
    assert events.Images("samples/fixed_latents")[0].encoded_image_string[:4] == b"\x89PNG"
    with Image.open(tmp_path / "samples" / "step-000007.png") as image:
        assert image.height == 3 * 18 + 2
    (record,) = (record for record in stats(tmp_path) if "latent_spread" in record)
    assert record["latent_spread"].keys() == {"a", "b", "c"}
    (line,) = (tmp_path / "spectrum.jsonl").read_text().splitlines()
    spectrum = json.loads(line)
    assert (spectrum["step"], spectrum["network"]) == (7, "discriminator")
    for name, layer in spectrum["layers"].items():
        (sigma,) = events.Scalars(f"sigma/discriminator/{name}")
        assert sigma.value == pytest.approx(layer["sigma"], rel=1e-6)
        histogram = events.Histograms(f"squared_singular_values/discriminator/{name}")[0].histogram_value
        assert histogram.num == len(layer["singular_values"])


def test_metrics_are_kept_and_a_value_that_is_none_is_null(tmp_path: Path) -> None:
    with log(tmp_path) as run_log:
        run_log.metrics(50, {"fid": 21.5, "kid": float("nan")})
    assert stats(tmp_path) == [{"step": 50, "metrics": {"fid": 21.5, "kid": None}}]
    assert board(tmp_path).Scalars("metrics/fid")[0].value == 21.5


def test_a_collapse_is_said_once_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with log(tmp_path, quiet=False) as run_log:
        for step in range(1, 2 * FLOOR_RECORDS + 1):
            run_log.scalars(step, losses(discriminator=0.0))
    (warning,) = (record for record in stats(tmp_path) if "warning" in record)
    assert warning["step"] == FLOOR_RECORDS
    assert capsys.readouterr().err.count(f"warning at step {FLOOR_RECORDS}: the discriminator's loss") == 1


def test_the_end_leaves_a_film_and_a_curve(tmp_path: Path, tiny_config: RunConfig) -> None:
    generator = sample_generator(tiny_config)
    with log(tmp_path) as run_log:
        run_log.finish()  # a run that was stopped at once has nothing to show
        assert not (tmp_path / "progress.webp").exists()
        run_log.scalars(10, losses())
        run_log.samples(10, generator, CLASSES)
        run_log.finish()
    assert (tmp_path / "progress.webp").read_bytes()[8:12] == b"WEBP"
    assert (tmp_path / "losses.png").exists()


def test_an_error_leaves_a_closed_board(tmp_path: Path) -> None:
    def interrupted() -> None:
        with log(tmp_path) as run_log:
            run_log.scalars(10, losses())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert len(board(tmp_path).Scalars("training/generator_loss")) == 1


def test_without_tensorboard_a_line_says_so_and_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with log(tmp_path, quiet=False) as run_log:
        run_log.scalars(10, losses())
        run_log.metrics(10, {"fid": 1.0})
    assert "pip install tensorboard" in capsys.readouterr().err
    assert [record["step"] for record in stats(tmp_path)] == [10, 10]
    assert not (tmp_path / "tensorboard").exists()


def test_a_pipe_sees_lines_on_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with log(tmp_path, quiet=False) as run_log:
        run_log.scalars(10, losses())
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "step 10/100  D 1.500  G -0.250" in captured.err
    assert "left" in captured.err


def test_the_silent_log_has_every_call_and_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def calls(kind: type) -> dict[str, list[str]]:
        methods = inspect.getmembers(kind, inspect.isfunction)
        public = {name: method for name, method in methods if not name.startswith("_")}
        return {name: list(inspect.signature(method).parameters) for name, method in public.items()}

    assert calls(SilentLog) == calls(RunLog)
    monkeypatch.chdir(tmp_path)
    with SilentLog() as silent:
        silent.scalars(1, losses())
        silent.finish()
    assert list(tmp_path.iterdir()) == []


def test_the_rate_is_of_the_steps_since_the_last_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 100.0, 104.0])  # made, entered, first record
    monkeypatch.setattr("sngan_train.runlog.time.monotonic", lambda: next(clock))
    with log(tmp_path, start_step=10) as run_log:
        run_log.scalars(20, losses())
    assert stats(tmp_path)[0]["real_images_per_s"] == 10 * 64 / 4.0
