import errno
import hashlib
import json
import os
import shutil
from pathlib import Path

import onnx
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from export import artefacts, pipeline
from export.errors import ExportError, OptionError, OutputExistsError, VerificationError
from export.pipeline import export_run
from sngan_train.checkpoint import list_checkpoints, open_checkpoint
from sngan_train.errors import CheckpointError
from sngan_train.models import build_generator
from sngan_train.models.spectral_norm import SigmaSource

FILES = ["README.md", "export_report.json", "generator-portable.onnx", "generator.onnx", "samples.png", "sngan.mar"]


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_an_export_says_what_it_is(tiny_run: Path, tmp_path: Path) -> None:
    exported = export_run(tiny_run, tmp_path / "out", version="2.1", default_truncation=1.5)
    assert names(tmp_path / "out") == FILES
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
    assert record["verification"]["num_images"] == 266
    assert len(record["provenance"]["generator_ema_sha256"]) == 64
    assert (record["target"], record["precision"]) == ("cpu", "float32")
    other = json.loads(onnx.load(tmp_path / "out" / "generator-portable.onnx").metadata_props[0].value)
    assert other["target"] == "portable"
    with Image.open(tmp_path / "out" / "samples.png") as picture:  # three classes, eight latents, a frame of 2
        assert (picture.mode, picture.size) == ("L", (8 * 18 + 2, 3 * 18 + 2))


def test_the_report_is_of_the_files_and_of_every_form(tiny_run: Path, tmp_path: Path) -> None:
    export_run(tiny_run, tmp_path / "out", targets=("portable",))
    report = json.loads((tmp_path / "out" / "export_report.json").read_text(encoding="utf-8"))
    assert sorted(report["files"]) == [name for name in names(tmp_path / "out") if name != "export_report.json"]
    for name, facts in report["files"].items():
        content = (tmp_path / "out" / name).read_bytes()
        assert (facts["bytes"], facts["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    assert set(report["targets"]) == {"cpu", "gpu", "portable"}
    assert [name for name, facts in report["targets"].items() if facts["written"]] == ["portable"]
    assert not any(report["targets"]["portable"]["rewrites"].values())
    assert report["targets"]["cpu"]["rewrites"]
    for facts in report["targets"].values():
        assert 0 < facts["parity"]["mean_abs"] < facts["parity"]["p999_abs"] <= facts["parity"]["max_abs"] < 1e-4
    for layer in report["folding"]:
        assert layer["folded_sigma"] == pytest.approx(1.5, rel=1e-3)
        assert layer["sigma"] == pytest.approx(layer["sigma_svd"], rel=1e-5)
    assert report["precisions"] == {}
    assert str(tiny_run) not in json.dumps(report)


def test_the_size_of_the_file_is_that_of_the_parameters(tiny_run: Path, tmp_path: Path) -> None:
    """No u, v or σ, and no second form of a weight: 4 bytes a parameter, and names and metadata beside them."""
    export_run(tiny_run, tmp_path / "out", targets=("portable",))
    config = open_checkpoint(tiny_run).config
    folded = build_generator(config, 3, source=SigmaSource.NONE)
    parameters = sum(parameter.numel() for parameter in folded.parameters())
    model = onnx.load(tmp_path / "out" / "generator.onnx")
    beside = len(model.metadata_props[0].value.encode()) + sum(
        len(node.SerializeToString()) for node in model.graph.node
    )
    size = (tmp_path / "out" / "generator.onnx").stat().st_size
    # At most 90 bytes of name and shape for each constant, and the five batch norms' statistics.
    most = 4 * (parameters + 5 * 4 * 8) + beside + 90 * len(model.graph.initializer) + 500
    assert 4 * parameters < size < most


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
    for name in FILES:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_an_existing_folder_is_kept_unless_forced(tiny_run: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.mkdir()
    (output / "notes.txt").write_text("mine")
    with pytest.raises(OutputExistsError, match="--force"):
        export_run(tiny_run, output)
    assert [path.name for path in output.iterdir()] == ["notes.txt"]
    export_run(tiny_run, output, force=True)
    assert names(output) == sorted([*FILES, "notes.txt"])


def test_what_an_earlier_export_left_goes_when_it_is_no_longer_true(tiny_run: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    export_run(tiny_run, output, targets=("cpu", "gpu"), triton=True)
    assert {"generator-gpu.onnx", "triton/sngan/config.pbtxt", "triton/sngan/1/model.onnx"} <= set(names(output))
    export_run(tiny_run, output, targets=("cpu",), force=True)
    assert names(output) == [name for name in FILES if name != "generator-portable.onnx"]


def test_a_full_disk_leaves_nothing(tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> bytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(artefacts, "report_bytes", full)
    with pytest.raises(ExportError, match="No space left on device"):
        export_run(tiny_run, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def copy_with_changed_average(tiny_run: Path, target: Path, name: str, change) -> Path:
    """A run whose averaged generator is altered and whose meta.json vouches for the altered file."""
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
        ("conv.bias", lambda bias: bias * float("nan"), "conv.bias: .* not finite"),
        ("blocks.0.conv1.weight", lambda weight: weight * float("nan"), "blocks.0.conv1.weight: .* not finite"),
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
    with pytest.raises(OptionError, match="--precision 'fp8': some of fp32, fp16, int8"):
        export_run(tiny_run, tmp_path / "out", precisions=["fp8"])
    for targets in ([], ["cpu", "cpu"], ["tpu"]):
        with pytest.raises(OptionError, match=r"--target .*: some of cpu, gpu, portable"):
            export_run(tiny_run, tmp_path / "out", targets=targets)
    with pytest.raises(ExportError, match="--truncation 3"):
        export_run(tiny_run, tmp_path / "out", default_truncation=3.0)
    blocker = tmp_path / "file"
    blocker.write_text("")
    with pytest.raises(ExportError, match="cannot be written"):
        export_run(tiny_run, blocker / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
