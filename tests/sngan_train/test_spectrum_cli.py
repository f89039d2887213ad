"""`sngan spectrum` on real checkpoints, against numpy's SVD of the stored tensors."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from PIL import Image
from safetensors.numpy import load_file
from typer.testing import CliRunner

from sngan_train.checkpoint import open_checkpoint
from sngan_train.config import RunConfig
from sngan_train.data import ImageData
from sngan_train.errors import CheckpointError, ConfigError
from sngan_train.spectrum_cli import app

Train = Callable[[RunConfig, ImageData, Path], Path]
FLOAT32_TOLERANCE = 1e-5  # the networks divide in float32


def spectrum(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def run(tiny_config: RunConfig, tiny_data: ImageData, train_quietly: Train, tmp_path: Path) -> Path:
    train_quietly(tiny_config, tiny_data, tmp_path / "run")
    return tmp_path / "run"


def test_one_run_is_told_as_numpy_sees_it(run: Path) -> None:
    result = spectrum(run, "--network", "all")
    assert result.exit_code == 0, result.exception
    folder = run / "spectrum"
    names = ["spectrum.csv", "layers.csv", "discriminator.png", "generator.png", "generator-ema.png"]
    assert result.stdout.splitlines() == [str(folder / name) for name in names]
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)
    assert "digits, step 4, discriminator\nlayer" in result.stderr
    assert f"next: sngan spectrum {run} ANOTHER_RUN" in result.stderr
    with Image.open(folder / "discriminator.png") as image:
        assert image.width > image.height > 300

    layers = {(row["network"], row["layer"]): row for row in rows(folder / "layers.csv")}
    values: dict[tuple[str, str], list[float]] = {}
    for row in rows(folder / "spectrum.csv"):
        assert (row["run"], row["step"]) == ("digits", "4")
        values.setdefault((row["network"], row["layer"]), []).append(float(row["singular_value"]))
        assert int(row["index"]) == len(values[row["network"], row["layer"]])
    for network in ("discriminator", "generator", "generator-ema"):
        file = run / "checkpoints" / "step-000004" / f"{network.replace('-', '_')}.safetensors"
        tensors = load_file(file)
        marks = ".sigma" if network == "generator-ema" else ".u"
        spectral = [name.removesuffix(marks) for name in tensors if name.endswith(marks)]
        assert len(spectral) > 5
        assert sorted(spectral) == sorted(layer for kind, layer in layers if kind == network)
        for name in spectral:
            matrix = tensors[f"{name}.weight"].astype(np.float64)
            matrix = matrix.reshape(len(matrix), -1)
            exact = np.linalg.svd(matrix, compute_uv=False)
            if network == "generator-ema":
                sigma, source = float(tensors[f"{name}.sigma"]), "stored"
            else:
                sigma, source = float(tensors[f"{name}.u"] @ matrix @ tensors[f"{name}.v"]), "u, v"
            row = layers[network, name]
            assert row["sigma_source"] == source
            assert float(row["sigma"]) == pytest.approx(sigma, rel=FLOAT32_TOLERANCE)
            assert float(row["sigma_svd"]) == pytest.approx(exact[0], rel=FLOAT32_TOLERANCE)
            assert float(row["lag"]) == pytest.approx(abs(sigma / exact[0] - 1.0), abs=FLOAT32_TOLERANCE)
            used = 1.5 * exact / sigma  # 1.5 is the tiny config's bound
            assert np.abs(np.array(values[network, name]) - used).max() <= FLOAT32_TOLERANCE * used[0]
            assert float(row["reshaped_norm"]) == pytest.approx(used[0], rel=FLOAT32_TOLERANCE)
            if row["operator_ratio"]:
                assert 0.9 < float(row["operator_ratio"]) < 3.0
            else:
                assert name == "class_embedding"


@pytest.mark.parametrize(
    "normalization",
    ["none", "weight-clipping", "weight-norm", "frobenius-norm", "spectral-norm-gain", "spectral-norm-regularization"],
)
def test_every_normalization_and_no_labels(
    normalization: str, tiny_config: RunConfig, tiny_data: ImageData, train_quietly: Train, tmp_path: Path
) -> None:
    config = tiny_config.override(
        {
            "generator": {"network": "cnn", "spectral_norm": False},
            "discriminator": {"network": "cnn", "conditioning": "none", "normalization": normalization},
            "training": {"total_steps": 1},
        }
    )
    train_quietly(config, tiny_data, tmp_path / "run")
    result = spectrum(f"it={tmp_path / 'run'}", "--network", "all", "--json")
    assert result.exit_code == 0, result.exception
    told = {(layer["network"], layer["layer"]): layer for layer in json.loads(result.stdout)["layers"]}
    weights = load_file(tmp_path / "run" / "checkpoints" / "step-000001" / "discriminator.safetensors")
    for (network, name), layer in told.items():
        spectral = network == "discriminator" and normalization.startswith("spectral")
        assert (layer["lag"] is not None) == spectral
        assert (layer["sigma"] is not None) == spectral
        if network != "discriminator":
            continue
        matrix = weights[f"{name}.weight"].astype(np.float64)
        matrix = matrix.reshape(len(matrix), -1)
        if normalization == "weight-norm":
            matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
        elif normalization == "frobenius-norm":
            matrix /= np.linalg.norm(matrix)
        elif normalization == "spectral-norm-gain":
            matrix *= float(weights[f"{name}.gain"]) / layer["sigma"]
        expected = np.linalg.svd(matrix, compute_uv=False)
        assert np.abs(layer["singular_values"] - expected).max() <= FLOAT32_TOLERANCE * expected[0]


def test_runs_are_compared_by_label(run: Path, tmp_path: Path) -> None:
    older = run / "checkpoints" / "step-000002"
    result = spectrum(f"old={older}", run, "-o", tmp_path / "both", "--no-operator-norm")
    assert result.exit_code == 0, result.exception
    read = rows(tmp_path / "both" / "layers.csv")
    assert {(row["run"], row["step"]) for row in read} == {("old", "2"), ("digits", "4")}
    assert all(row["convolution_norm"] == row["operator_ratio"] == "" for row in read)
    assert "Lipschitz" not in result.stderr
    assert f"next: sngan spectrum old={older} {run} --network all" in result.stderr
    assert sorted(path.name for path in older.iterdir()) == sorted(
        path.name for path in open_checkpoint(run).path.iterdir()
    )


def test_two_of_one_preset_go_by_their_paths(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "with=sign")
    result = spectrum(run, tmp_path / "with=sign", "-o", tmp_path / "both", "--no-operator-norm")
    assert result.exit_code == 0, result.exception
    assert {row["run"] for row in rows(tmp_path / "both" / "layers.csv")} == {str(run), str(tmp_path / "with=sign")}


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["a={run}", "a={run}"], ConfigError, "two runs go by the label 'a'; give each its own"),
        (["{run}", "{run}"], ConfigError, "two runs go by the label"),
        (["={run}"], ConfigError, "write it as LABEL=RUN"),
        (["a="], ConfigError, "write it as LABEL=RUN"),
        (["{run}/nowhere"], CheckpointError, "nowhere: no such folder"),
    ],
)
def test_what_is_wrong_is_said(run: Path, arguments: list[str], error: type[Exception], message: str) -> None:
    result = spectrum(*(argument.format(run=run) for argument in arguments))
    assert isinstance(result.exception, error)
    assert message in str(result.exception)
    assert not (run / "spectrum").exists()


def test_without_matplotlib_the_tables_are_written_all_the_same(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    result = spectrum(run, "--no-operator-norm")
    assert isinstance(result.exception, ConfigError)
    assert "sngan[evaluate]" in str(result.exception)
    assert result.stdout.splitlines() == [str(run / "spectrum" / name) for name in ("spectrum.csv", "layers.csv")]
    assert len(rows(run / "spectrum" / "layers.csv")) > 5
