import hashlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from export import archive as archive_module
from export.archive import write_archive
from export.errors import ExportError


def test_what_the_archive_holds(tiny_generator_onnx: Path, tmp_path: Path) -> None:
    output = tmp_path / "sngan.mar"
    write_archive([tiny_generator_onnx], "1.2", output)
    with zipfile.ZipFile(output) as archive:
        names = set(archive.namelist())
        manifest = json.loads(archive.read("MAR-INF/MANIFEST.json"))
        config = yaml.safe_load(archive.read("model-config.yaml"))
        assert archive.read("generator.onnx") == tiny_generator_onnx.read_bytes()
    assert {"sngan_handler.py", "handlers/__init__.py", "handlers/latents.py", "handlers/session.py"} <= names
    assert not [name for name in names if "pycache" in name or name.endswith(".pyc")]
    assert manifest["model"]["modelName"] == "sngan"
    assert manifest["model"]["modelVersion"] == "1.2"
    assert manifest["model"]["serializedFile"] == "generator.onnx"
    assert manifest["model"]["handler"] == "sngan_handler.py"
    assert config["batchSize"] == 1
    assert all(isinstance(config[key], int) for key in ("minWorkers", "maxWorkers", "responseTimeout"))


def test_two_archives_are_the_same_bytes(tiny_generator_onnx: Path, tmp_path: Path) -> None:
    write_archive([tiny_generator_onnx], "1.0", tmp_path / "a.mar")
    write_archive([tiny_generator_onnx], "1.0", tmp_path / "b.mar")
    assert (tmp_path / "a.mar").read_bytes() == (tmp_path / "b.mar").read_bytes()
    write_archive([tiny_generator_onnx], "1.1", tmp_path / "c.mar")
    assert (tmp_path / "a.mar").read_bytes() != (tmp_path / "c.mar").read_bytes()


def test_the_archive_states_its_own_digest_and_depends_on_no_zlib(tiny_generator_onnx: Path, tmp_path: Path) -> None:
    path = tmp_path / "sngan.mar"
    write_archive([tiny_generator_onnx], "1.0", path)
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        digits = json.loads(archive.comment)["archive_seal"]
        members = archive.infolist()
    assert hashlib.sha256(content.replace(digits.encode(), b"0" * 64)).hexdigest() == digits
    assert {member.compress_type for member in members} == {zipfile.ZIP_STORED}
    assert {(member.date_time, member.create_system) for member in members} == {((1980, 1, 1, 0, 0, 0), 3)}
    assert [member.filename for member in members] == sorted(member.filename for member in members)


def test_the_handler_imports_from_the_unpacked_archive_alone(tiny_generator_onnx: Path, tmp_path: Path) -> None:
    """As TorchServe does it: by bare file name, the model folder first on the path, nothing of ours installed."""
    write_archive([tiny_generator_onnx], "1.0", tmp_path / "sngan.mar")
    with zipfile.ZipFile(tmp_path / "sngan.mar") as archive:
        archive.extractall(tmp_path / "model")
    code = (
        "import sys, importlib; sys.path.insert(0, sys.argv[1]); m = importlib.import_module('sngan_handler'); "
        "import handlers; assert handlers.__file__.startswith(sys.argv[1]), handlers.__file__; "
        "own = [v for v in vars(m).values() if isinstance(v, type) and v.__module__ == m.__name__]; "
        "assert len(own) == 1, own; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "model")], check=True, cwd=tmp_path)


def test_a_failing_archiver_is_told_in_its_own_words(
    tiny_generator_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_module, "MODEL_NAME", "no/name")
    with pytest.raises(ExportError, match="torch-model-archiver failed"):
        write_archive([tiny_generator_onnx], "1.0", tmp_path / "sngan.mar")
    assert not (tmp_path / "sngan.mar").exists()
