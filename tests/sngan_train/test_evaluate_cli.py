"""`sngan evaluate` from the words of the user to the record on the disk."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor
from typer.testing import CliRunner

from sngan_train.config import RunConfig
from sngan_train.data import ImageData
from sngan_train.evaluate_cli import app
from sngan_train.metrics import measure, session
from sngan_train.metrics.extractor import ExtractorFacts, Features
from sngan_train.metrics.protocol import PROTOCOLS
from sngan_train.metrics.record import UnlikeProtocolsError, saved_records

Train = Callable[[RunConfig, ImageData, Path], Path]


class MeanExtractor:
    """Features of the rows' means: cheap, and enough to see the command work."""

    facts = ExtractorFacts(
        name="means", feature_dim=16, input_size=16, resize="none", precision="float32", weights_sha256="0" * 64
    )

    def __call__(self, images: Tensor) -> Features:
        means = images.float().mean(dim=(1, 3)) / 255
        return Features(features=means, logits=means)


@pytest.fixture
def run(
    tiny_config: RunConfig,
    tiny_data: ImageData,
    train_quietly: Train,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A trained run, its data found by whoever asks, and protocols of few images."""
    for name, protocol in PROTOCOLS.items():
        few = dataclasses.replace(protocol, real_images=21, fake_images=12, score_images=6, score_sets=2)
        monkeypatch.setitem(PROTOCOLS, name, few)
    monkeypatch.setattr(session, "load_extractor", lambda *arguments, **options: MeanExtractor())
    monkeypatch.setattr(session, "REFERENCE_CACHE", tmp_path / "cache")
    monkeypatch.setattr(measure, "load_data", lambda config, report: tiny_data)
    monkeypatch.setattr(session, "load_data", lambda config, report: tiny_data)
    train_quietly(tiny_config, tiny_data, tmp_path / "run")
    return tmp_path / "run"


def sngan_evaluate(*arguments: object) -> Any:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_values_and_what_they_depend_on_are_printed_and_saved(run: Path) -> None:
    result = sngan_evaluate(run)
    assert "KD(means)" in result.stdout
    assert "protocol quick: 21 real images (train; random), 12 generated (seed 0, ema weights, step 4)" in result.stdout
    assert "FID" not in result.stdout
    assert "next: " in result.stderr
    (record,) = saved_records(run)
    assert record.headline == "KD(means)"


def test_json_is_the_record(run: Path) -> None:
    printed = json.loads(sngan_evaluate(run, "--json", "--seed", 5, "--weights", "raw").stdout)
    (record,) = saved_records(run)
    assert printed == record.to_dict()
    assert (record.seed, record.generator["weights"]) == (5, "raw")


def test_runs_measured_alike_are_compared_and_others_refused(run: Path) -> None:
    sngan_evaluate(run)
    assert "against" in sngan_evaluate(run, "--seed", 1, "--against", run).stdout
    with pytest.raises(UnlikeProtocolsError, match=r"protocol\.real_split: train and test"):
        sngan_evaluate(run, "--protocol", "10k-test", "--real", "digits", "--against", run)


def test_the_best_so_far_is_named_when_it_is_another(run: Path) -> None:
    sngan_evaluate(run)
    (record,) = saved_records(run)
    better = dataclasses.replace(record, step=2, values={**record.values, record.headline: -1.0})
    (run / "metrics.jsonl").write_text(json.dumps(better.to_dict()) + "\n")
    assert "best so far: KD(means) -1 at step 2; this is step 4" in sngan_evaluate(run).stdout


def test_class_by_class(run: Path) -> None:
    stdout = sngan_evaluate(run, "--protocol", "intra").stdout
    assert "intra-class FD(means)" in stdout
    assert "MS-SSIM of b" in stdout


def test_the_self_test_prints_what_to_expect(run: Path) -> None:
    stdout = sngan_evaluate("--self-test", "--real", "cifar10").stdout
    assert "21 training against 21 test images" in stdout
    assert "expected: small" in stdout
    values = {line[:38].strip(): float(line[40:50]) for line in stdout.splitlines()[1:]}
    assert values["FD(means)"] == pytest.approx(0.0, abs=1e-6)  # the fixture's two splits are the same images
    assert values["coverage"] == 1.0
