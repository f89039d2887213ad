import json
import shutil
from pathlib import Path

import onnx
import pytest
import torch
from safetensors.torch import load_file, save_file

from export import pipeline
from export.errors import ExportError, OptionError, OutputExistsError, VerificationError
from export.pipeline import export_run
from sngan_train.checkpoint import list_checkpoints
from sngan_train.errors import CheckpointError


def test_an_export_is_two_files_that_say_what_they_are(tiny_run: Path, tmp_path: Path) -> None:
    exported = export_run(tiny_run, tmp_path / "out", version="2.1", default_truncation=1.5)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["generator.onnx", "sngan.mar"]
    model = onnx.load(exported.generator)
    (entry,) = model.metadata_props
    assert entry.key == "sngan"
    record = json.loads(entry.value)
    assert record["schema"] == "sngan-generator/1"
    assert record["version"] == "2.1"
    assert record["class_names"] == ["plain", "with space & 'quotes'", "Ünïcode 猫"]
    assert (record["latent_dim"], record["channels"], record["height"], record["color_mode"]) == (
        8,
        1,
        16,
        "L",
    )
    assert record["default_truncation"] == 1.5
    assert record["training"]["step"] == 4
    assert record["verification"]["fold_max_abs"] <= 1e-5
    assert record["verification"]["onnx_runtime_max_abs"] <= 1e-4
    assert len(record["provenance"]["generator_ema_sha256"]) == 64


def test_an_unconditional_export_names_no_classes(tiny_cnn_run: Path, tmp_path: Path) -> None:
    exported = export_run(tiny_cnn_run, tmp_path / "out")
    record = json.loads(onnx.load(exported.generator).metadata_props[0].value)
    assert (record["class_names"], record["latent_distribution"]) == ([], "uniform")
    assert (record["channels"], record["height"], record["color_mode"]) == (3, 32, "RGB")
    assert record["default_truncation"] is None
    sigmas = record["verification"]["sigmas"]
    assert [entry["layer"] for entry in sigmas] == ["linear", "convs.0", "convs.1", "convs.2", "conv"]
    assert all(entry["folded_sigma"] == pytest.approx(1.5, rel=1e-3) for entry in sigmas)


def test_uniform_latents_refuse_a_truncation(tiny_cnn_run: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"--truncation 1\.0: this model's latents are uniform") as raised:
        export_run(tiny_cnn_run, tmp_path / "out", default_truncation=1.0)
    assert raised.value.exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_two_exports_of_one_checkpoint_are_the_same_bytes(tiny_run: Path, tmp_path: Path) -> None:
    a, b = export_run(tiny_run, tmp_path / "a"), export_run(tiny_run, tmp_path / "b")
    assert a.generator.read_bytes() == b.generator.read_bytes()
    assert a.archive.read_bytes() == b.archive.read_bytes()


def test_an_existing_folder_is_kept_unless_forced(tiny_run: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.mkdir()
    (output / "notes.txt").write_text("mine")
    with pytest.raises(OutputExistsError, match="--force"):
        export_run(tiny_run, output)
    assert [path.name for path in output.iterdir()] == ["notes.txt"]
    export_run(tiny_run, output, force=True)
    assert sorted(path.name for path in output.iterdir()) == ["generator.onnx", "notes.txt", "sngan.mar"]


def copy_with_changed_average(tiny_run: Path, target: Path, name: str, change) -> Path:
    """A run whose averaged generator is altered and whose meta.json vouches for the altered file."""
    import hashlib

    shutil.copytree(tiny_run, target)
    checkpoint = list_checkpoints(target)[-1]
    weights = load_file(checkpoint / "generator_ema.safetensors")
    weights[name] = change(weights[name])
    save_file(weights, checkpoint / "generator_ema.safetensors")
    meta = json.loads((checkpoint / "meta.json").read_text())
    content = (checkpoint / "generator_ema.safetensors").read_bytes()
    meta["sha256"]["generator_ema.safetensors"] = hashlib.sha256(content).hexdigest()
    (checkpoint / "meta.json").write_text(json.dumps(meta))
    return target


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            "linear.sigma",
            lambda sigma: sigma * 1.01,
            "layer linear: the folded weight's largest singular value",
        ),
        ("conv.bias", lambda bias: bias * float("nan"), "not finite"),
    ],
)
def test_a_failed_proof_writes_nothing(tiny_run: Path, tmp_path: Path, name: str, change, message: str) -> None:
    run = copy_with_changed_average(tiny_run, tmp_path / "run", name, change)
    with pytest.raises(VerificationError, match=message) as raised:
        export_run(run, tmp_path / "deep" / "out")
    assert raised.value.exit_code == 3
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_difference_above_tolerance_writes_nothing(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = pipeline.fold_spectral_norm

    def slightly_wrong(*arguments: object) -> torch.nn.Module:
        folded = original(*arguments)  # type: ignore[arg-type]
        folded.conv.bias += 2e-5
        return folded

    monkeypatch.setattr(pipeline, "fold_spectral_norm", slightly_wrong)
    with pytest.raises(VerificationError, match="nothing was written"):
        export_run(tiny_run, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_bad_input(tiny_run: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such folder"):
        export_run(tmp_path / "nothing", tmp_path / "out")
    with pytest.raises(ExportError, match="--version 'a b'"):
        export_run(tiny_run, tmp_path / "out", version="a b")
    with pytest.raises(ExportError, match="--truncation 3"):
        export_run(tiny_run, tmp_path / "out", default_truncation=3.0)
    blocker = tmp_path / "file"
    blocker.write_text("")
    with pytest.raises(ExportError, match="cannot be written"):
        export_run(tiny_run, blocker / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
