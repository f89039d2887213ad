from __future__ import annotations

import dataclasses
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import yaml

import handlers
from handlers.metadata import METADATA_KEY, GeneratorMetadata
from serve.config import ServeConfig
from serve.errors import ModelFileError
from serve.model_folder import prepare

CONFIG = ServeConfig(provider="cpu", threads=1, batch_size=3)


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def rewritten(source: Path, target: Path, change: Callable[[dict[str, bytes]], object]) -> Path:
    """A copy of an archive after `change` of its members."""
    with zipfile.ZipFile(source) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return target


def test_onnx_and_archive_give_the_same_folder(
    tmp_path: Path, tiny_generator_onnx: Path, tiny_mar: Path, tiny_metadata: GeneratorMetadata
) -> None:
    folders = []
    for source in (tiny_generator_onnx, tiny_mar):
        store = tmp_path / source.suffix
        store.mkdir()
        folder = prepare(source, store, CONFIG)
        assert folder.path == store / "sngan"
        assert folder.metadata == tiny_metadata
        manifest = json.loads((folder.path / "MAR-INF/MANIFEST.json").read_text())["model"]
        assert manifest["modelName"] == "sngan"
        assert manifest["modelVersion"] == "1.2"
        assert (folder.path / manifest["handler"]).is_file()
        assert (folder.path / manifest["serializedFile"]).is_file()
        assert yaml.safe_load((folder.path / manifest["configFile"]).read_text())["batchSize"] == 3
        folders.append(folder.path)
    modules = {file.name for file in Path(handlers.__file__).parent.glob("*.py")} - {"sngan_handler.py"}
    assert {f"handlers/{name}" for name in modules} <= names(folders[0])
    assert names(folders[0]) == names(folders[1]) - {"handlers/sngan_handler.py"}


def test_the_archive_s_own_settings_are_replaced(tmp_path: Path, tiny_mar: Path) -> None:
    def change(members: dict[str, bytes]) -> None:
        members["model-config.yaml"] = b"minWorkers: 64"

    folder = prepare(rewritten(tiny_mar, tmp_path / "x.mar", change), tmp_path, CONFIG)
    assert yaml.safe_load((folder.path / "model-config.yaml").read_text())["minWorkers"] == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m.pop("MAR-INF/MANIFEST.json"), "no MAR-INF/MANIFEST.json"),
        (lambda m: m.pop("sngan_handler.py"), "no sngan_handler.py"),
        (lambda m: m.pop("handlers/__init__.py"), "no sngan_handler.py with its package"),
        (lambda m: m.pop("generator.onnx"), "'generator.onnx' is not in the archive"),
        (lambda m: m.update({"MAR-INF/MANIFEST.json": b"{"}), "names no model file"),
        (lambda m: m.update({"MAR-INF/MANIFEST.json": b"[]"}), "names no model file"),
        (lambda m: m.update({"MAR-INF/MANIFEST.json": b'{"model": 5}'}), "names no model file"),
        (lambda m: m.update({"MAR-INF/MANIFEST.json": b"\xff"}), "names no model file"),
        (
            lambda m: m.update({"MAR-INF/MANIFEST.json": b'{"model": {"serializedFile": "../../x.onnx"}}'}),
            "'../../x.onnx' is not in the archive",
        ),
        (
            lambda m: m.update({"MAR-INF/MANIFEST.json": b'{"model": {"serializedFile": ["x"]}}'}),
            "is not in the archive",
        ),
        (lambda m: m.update({"generator.onnx": b"garbage"}), "x.mar: not a readable ONNX generator"),
    ],
)
def test_archives_that_are_not_ours(
    tmp_path: Path, tiny_mar: Path, change: Callable[[dict[str, bytes]], object], words: str
) -> None:
    archive = rewritten(tiny_mar, tmp_path / "x.mar", change)
    with pytest.raises(ModelFileError, match=words) as caught:
        prepare(archive, tmp_path, CONFIG)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("missing.onnx", "no such file"),
        ("readme.txt", "neither a .mar nor an .onnx"),
        ("bad.onnx", "bad.onnx: not a"),
    ],
)
def test_files_that_cannot_be_served(tmp_path: Path, name: str, words: str) -> None:
    for existing in ("readme.txt", "bad.onnx"):
        (tmp_path / existing).write_text("text")
    with pytest.raises(ModelFileError, match=words):
        prepare(tmp_path / name, tmp_path, CONFIG)


def test_a_graph_that_does_not_run_is_found_before_java_starts(
    tmp_path: Path, tiny_generator_onnx: Path, tiny_metadata: GeneratorMetadata
) -> None:
    model = onnx.load(tiny_generator_onnx)
    wrong = dataclasses.replace(tiny_metadata, latent_dim=9)
    onnx.helper.set_model_props(model, {METADATA_KEY: wrong.to_json()})
    onnx.save(model, tmp_path / "x.onnx")
    with pytest.raises(ModelFileError, match="the generator does not run") as caught:
        prepare(tmp_path / "x.onnx", tmp_path, CONFIG)
    assert "\n" not in str(caught.value)


def test_a_provider_that_is_not_there_is_found_before_java_starts(tmp_path: Path, tiny_generator_onnx: Path) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has the provider")
    with pytest.raises(ModelFileError, match="no cuda provider"):
        prepare(tiny_generator_onnx, tmp_path, ServeConfig(provider="cuda"))


def test_a_full_or_closed_disk_is_one_line(tmp_path: Path, tiny_generator_onnx: Path) -> None:
    with pytest.raises(ModelFileError, match="cannot be made ready"):
        prepare(tiny_generator_onnx, tmp_path / "missing", CONFIG)
