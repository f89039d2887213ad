"""Whatever is wrong with an export is found, and said in one line that names the file."""

import dataclasses
import json
import random
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from export import schema
from export.archive import write_archive
from export.check import check
from export.check_generator import GeneratorCheck
from export.checks import Check
from export.errors import ExportError, OptionError, VerificationError
from export.pipeline import export_run
from export.seal import ARCHIVE_SEAL, GENERATOR_SEAL, REPORT_SEAL, UNSEALED, require_seal, seal, sealed_json
from handlers.metadata import METADATA_KEY, GeneratorMetadata

Reseal = Callable[[Path, GeneratorMetadata], Path]


@pytest.fixture
def export(tiny_export: Path, tmp_path: Path) -> Path:
    """A copy that may be changed."""
    return Path(shutil.copytree(tiny_export, tmp_path / "out"))


def rows_of(path: Path) -> list[tuple[str, str, str]]:
    return [(one.subject, one.what, one.status) for one in check(path)]


def failure(path: Path) -> Check:
    """The only check of `path` that fails."""
    (failed,) = [one for one in check(path) if one.status == "FAIL"]
    assert failed.detail
    assert "\n" not in failed.detail
    return failed


def metadata_in(path: Path) -> GeneratorMetadata:
    (entry,) = onnx.load(path).metadata_props
    return GeneratorMetadata.from_json(entry.value, str(path))


def report_in(folder: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((folder / "export_report.json").read_text())
    return report


def flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1 << position % 8
    path.write_bytes(content)


def test_a_whole_export_passes(tiny_export: Path) -> None:
    assert rows_of(tiny_export) == [
        ("export_report.json", "seal", "PASS"),
        ("export_report.json", "schema", "PASS"),
        ("README.md", "bytes", "PASS"),
        ("generator.onnx", "bytes", "PASS"),
        ("generator.onnx", "seal", "PASS"),
        ("generator.onnx", "schema", "PASS"),
        ("generator.onnx", "parity", "PASS"),
        ("sngan.mar", "bytes", "PASS"),
        ("sngan.mar", "seal", "PASS"),
        ("sngan.mar", "content", "PASS"),
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("run", "truncation"), [("tiny_run", 0.7), ("tiny_cnn_run", None)])
def test_what_export_writes_passes(
    request: pytest.FixtureRequest, tmp_path: Path, run: str, truncation: float | None
) -> None:
    """A folder of several targets and a Triton repository, and each of its files alone."""
    out = tmp_path / "out"
    targets = ("cpu", "portable", "gpu")
    export_run(request.getfixturevalue(run), out, targets=targets, default_truncation=truncation, triton=True)
    rows = rows_of(out)
    assert {status for _, _, status in rows} == {"PASS"}
    generators = ["generator.onnx", "generator-portable.onnx", "generator-gpu.onnx"]
    assert sorted(subject for subject, what, _ in rows if what == "parity") == sorted(generators)
    assert {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()} == {row[0] for row in rows}
    for name in (*generators, "sngan.mar", "triton/sngan/1/model.onnx"):
        assert {status for _, _, status in rows_of(out / name)} == {"PASS"}


def test_a_lone_generator_and_a_lone_archive_pass(export: Path, tmp_path: Path) -> None:
    steps = ["seal", "schema", "parity"]
    alone = shutil.move(export / "generator.onnx", tmp_path / "other-name.onnx")
    assert rows_of(Path(alone)) == [("other-name.onnx", step, "PASS") for step in steps]
    assert rows_of(export / "sngan.mar") == [
        ("sngan.mar", "seal", "PASS"),
        ("sngan.mar", "content", "PASS"),
        *(("sngan.mar:generator.onnx", step, "PASS") for step in steps),
    ]


def test_every_changed_byte_of_a_generator_is_found(tiny_export: Path) -> None:
    content = (tiny_export / "generator.onnx").read_bytes()
    assert len(content) < 50_000
    for position in range(len(content)):
        changed = bytearray(content)
        changed[position] ^= 1 << position % 8
        with pytest.raises(VerificationError):
            require_seal(bytes(changed), GENERATOR_SEAL)


def test_changed_bytes_all_over_an_archive_are_found(tiny_export: Path) -> None:
    content = (tiny_export / "sngan.mar").read_bytes()
    with zipfile.ZipFile(tiny_export / "sngan.mar") as archive:
        members = archive.infolist()
        directory = archive.start_dir
    headers = [range(member.header_offset, member.header_offset + 30 + len(member.filename)) for member in members]
    places = {place for header in headers for place in header} | set(range(directory, len(content)))
    places |= set(random.Random(0).sample(range(len(content)), 500))
    for position in sorted(places):
        changed = bytearray(content)
        changed[position] ^= 1 << position % 8
        with pytest.raises(VerificationError):
            require_seal(bytes(changed), ARCHIVE_SEAL)


@pytest.mark.parametrize("name", ["generator.onnx", "sngan.mar", "README.md", "export_report.json"])
def test_changed_bytes_of_any_file_are_found_in_the_folder_and_alone(
    tiny_export: Path, tmp_path: Path, name: str
) -> None:
    size = (tiny_export / name).stat().st_size
    for position in sorted({0, size // 2, size - 1, *random.Random(1).sample(range(size), 4)}):
        folder = Path(shutil.copytree(tiny_export, tmp_path / f"{position}"))
        flip(folder / name, position)
        found = failure(folder)
        assert (found.subject, found.what) == (name, "seal" if name == "export_report.json" else "bytes")
        if name in ("generator.onnx", "sngan.mar"):
            assert failure(folder / name).what == "seal"


def test_files_that_are_missing_cut_or_too_long(export: Path) -> None:
    (export / "README.md").unlink()
    assert failure(export).detail == "is missing"
    (export / "README.md").write_text("# A model")
    assert failure(export).detail == "has 9 bytes, and not the 15 of the report"
    (export / "README.md").write_text("# A model cord\n")
    assert "SHA-256" in failure(export).detail
    (export / "export_report.json").unlink()
    assert "is missing: not the folder of an export" in failure(export).detail


def test_files_of_nobody_are_skipped_and_generators_of_nobody_are_not(export: Path) -> None:
    (export / "notes").mkdir()
    (export / "notes" / "mine.txt").write_text("mine")
    assert rows_of(export)[-1] == ("notes/mine.txt", "bytes", "SKIP")
    shutil.copy(export / "generator.onnx", export / "generator-int8.onnx")
    assert failure(export).subject == "generator-int8.onnx"
    assert "not part of this export" in failure(export).detail


@pytest.mark.parametrize("name", ["x.onnx", "x.mar"])
@pytest.mark.parametrize("content", [b"", b"no such thing", b"PK\x03\x04" + bytes(100), bytes(1000)])
def test_files_that_are_something_else(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert "states no SHA-256 of its own" in failure(tmp_path / name).detail


def test_a_generator_from_before_there_were_seals(tiny_generator_onnx: Path) -> None:
    assert "by a version that sealed nothing" in failure(tiny_generator_onnx).detail


def test_what_is_no_export_at_all(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="no such file or folder"):
        check(tmp_path / "nothing")
    (tmp_path / "x.pt").write_text("")
    with pytest.raises(OptionError, match=r"a \.mar or an \.onnx file"):
        check(tmp_path / "x.pt")
    assert "not the folder of an export" in failure(tmp_path).detail


def test_a_newer_report(export: Path) -> None:
    report = {**report_in(export), "format": "sngan-export/2"}
    (export / "export_report.json").write_bytes(sealed_json(report, REPORT_SEAL))
    assert failure(export).detail.startswith("its format 'sngan-export/2' is not 'sngan-export/1'")
    del report["report_seal"]
    (export / "export_report.json").write_text(json.dumps(report))  # one that is sealed in another way, or not
    assert failure(export).detail.startswith("its format 'sngan-export/2' is not 'sngan-export/1'")


@pytest.mark.parametrize("content", ["", "[]", "{", "null", "[" * 100_000])
def test_a_report_that_is_none(export: Path, content: str) -> None:
    (export / "export_report.json").write_text(content)
    assert failure(export).subject == "export_report.json"


@pytest.mark.parametrize("with_schema", [True, False])
@pytest.mark.parametrize(
    "changes", [{"files": {}}, {"files": [1]}, {"files": {"../x": {"sha256": "0" * 64, "bytes": 1}}}, {"reference": 1}]
)
def test_a_report_that_makes_no_sense(
    export: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], with_schema: bool
) -> None:
    monkeypatch.setattr(schema, "validates", lambda: with_schema)
    (export / "export_report.json").write_bytes(sealed_json({**report_in(export), **changes}, REPORT_SEAL))
    assert (failure(export).subject, failure(export).what) == ("export_report.json", "schema")


def test_without_the_package_that_validates_it_is_said(export: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "validates", lambda: False)
    found = list(check(export))
    assert all(one.status == "PASS" for one in found)
    assert [one.subject for one in found if "jsonschema is not installed" in one.detail] == [
        "export_report.json",
        "generator.onnx",
    ]


def rewrite(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the metadata of a generator file and seal it again."""
    model = onnx.load(path)
    record = json.loads(model.metadata_props[0].value)
    record["provenance"][GENERATOR_SEAL] = UNSEALED
    change(record)
    helper.set_model_props(model, {METADATA_KEY: json.dumps(record)})
    path.write_bytes(seal(model.SerializeToString(), GENERATOR_SEAL))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda record: record.update(schema="sngan-generator/2"), "metadata schema 'sngan-generator/2' is not"),
        (lambda record: record.pop("latent_dim"), "its sngan metadata is incomplete"),
        (lambda record: record["training"].update(step="many"), r"schema sngan-generator-1: training\.step"),
        (
            lambda record: record.update(height=7),
            r"its output 'image' is tensor\(float\) \['batch', 3, 6, 4\], and not",
        ),
        (lambda record: record.update(latent_dim=9), r"its input 'z' is tensor\(float\) \['batch', 8\], and not"),
        (lambda record: record.update(class_names=[]), "has the inputs z, label, and not z"),
    ],
)
def test_metadata_that_is_not_of_this_graph_or_version(
    export: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    rewrite(export / "generator.onnx", change)
    with pytest.raises(VerificationError, match=message):
        raise VerificationError(failure(export / "generator.onnx").detail)
    assert failure(export / "generator.onnx").what == "schema"


def test_a_generator_without_reference_images(export: Path) -> None:
    rewrite(export / "generator.onnx", lambda record: record.update(verification={}))
    assert "brings no reference images" in failure(export / "generator.onnx").detail


def test_a_stranger_s_onnx_file(tmp_path: Path, export: Path) -> None:
    model = onnx.load(export / "generator.onnx")
    helper.set_model_props(model, {"other": f'{{"{GENERATOR_SEAL}": "{UNSEALED}"}}'})
    (tmp_path / "x.onnx").write_bytes(seal(model.SerializeToString(), GENERATOR_SEAL))
    assert "without sngan metadata" in failure(tmp_path / "x.onnx").detail


def edited(path: Path, name: str, change: Callable[[np.ndarray], np.ndarray]) -> onnx.ModelProto:
    """The model in `path` with one constant changed; not sealed."""
    model = onnx.load(path)
    (constant,) = [tensor for tensor in model.graph.initializer if tensor.name == name]
    constant.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(constant).copy()), name))
    return model


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("table", lambda table: table[[1, 0, 2]]),
        ("weight", lambda weight: weight * np.where(np.arange(8) == 4, -1, 1).astype(np.float32)[:, None]),
    ],
)
def test_a_generator_that_was_sealed_with_other_weights(
    export: Path,
    reseal: Reseal,
    report_again: Callable[..., None],
    name: str,
    change: Callable[[np.ndarray], np.ndarray],
) -> None:
    path = export / "generator.onnx"
    metadata = metadata_in(path)
    onnx.save(edited(path, name, change), path)
    reseal(path, metadata)
    write_archive([path], metadata.version, export / "sngan.mar")
    report_again(export, report_in(export)["reference"])
    for found in (failure(path), failure(export / "sngan.mar")):
        assert found.what == "parity"
        assert "draws other images than the trained generator: 16 images" in found.detail
    in_folder = [one for one in check(export) if one.status == "FAIL"]
    assert [one.subject for one in in_folder] == ["generator.onnx", "sngan.mar:generator.onnx"]
    assert "64 images" in in_folder[0].detail


def test_an_archive_with_another_generator_than_the_folder_s_is_looked_into(
    export: Path, reseal: Reseal, report_again: Callable[..., None], tmp_path: Path
) -> None:
    other = Path(shutil.copy(export / "generator.onnx", tmp_path / "generator.onnx"))
    reseal(other, dataclasses.replace(metadata_in(other), name="other"))
    write_archive([other], "9.9", export / "sngan.mar")
    report_again(export, report_in(export)["reference"])
    assert failure(export).subject == "sngan.mar:generator.onnx"
    assert "states version '1.2', but is listed as '9.9'" in failure(export).detail
    write_archive([other], "1.2", export / "sngan.mar")
    report_again(export, report_in(export)["reference"])
    assert ("sngan.mar:generator.onnx", "parity", "PASS") in rows_of(export)


@pytest.mark.parametrize(
    "lost", ["MAR-INF/MANIFEST.json", "generator.onnx", "sngan_handler.py", "handlers/__init__.py"]
)
def test_an_archive_that_lacks_something(export: Path, lost: str) -> None:
    path = export / "sngan.mar"
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        archive.comment = json.dumps({ARCHIVE_SEAL: UNSEALED}).encode()
        for name in content.keys() - {lost}:
            archive.writestr(name, content[name])
    path.write_bytes(seal(path.read_bytes(), ARCHIVE_SEAL))
    assert failure(path).what == "content"
    assert lost in failure(path).detail


def test_the_report_and_the_metadata_say_the_same(export: Path) -> None:
    report = report_in(export)
    report["files"]["generator.onnx"]["precision"] = "int8"
    (export / "export_report.json").write_bytes(sealed_json(report, REPORT_SEAL))
    assert failure(export).detail == "states precision 'float32', but is listed as 'int8'"


def test_every_generator_in_an_archive_is_looked_into(export: Path, reseal: Reseal, tmp_path: Path) -> None:
    other = Path(shutil.copy(export / "generator.onnx", tmp_path / "generator-portable.onnx"))
    onnx.save(edited(other, "table", lambda table: -table), other)
    reseal(other, metadata_in(other))
    write_archive([export / "generator.onnx", other], "1.2", export / "sngan.mar")
    assert failure(export / "sngan.mar").subject == "sngan.mar:generator-portable.onnx"
    assert ("sngan.mar:generator.onnx", "parity", "PASS") in rows_of(export / "sngan.mar")


def with_levels(model: onnx.ModelProto, shift: float) -> onnx.ModelProto:
    """`model` with the output `image_u8`, all of its values `shift` levels too high."""
    graph = model.graph
    constants = {"half": 127.5, "offset": 127.5 + shift, "low": 0.0, "high": 255.0}
    graph.initializer.extend(numpy_helper.from_array(np.float32(value), key) for key, value in constants.items())
    graph.node.extend(
        [
            helper.make_node("Mul", ["image", "half"], ["scaled"]),
            helper.make_node("Add", ["scaled", "offset"], ["shifted"]),
            helper.make_node("Round", ["shifted"], ["rounded"]),
            helper.make_node("Clip", ["rounded", "low", "high"], ["clipped"]),
            helper.make_node("Cast", ["clipped"], ["levels"], to=onnx.TensorProto.UINT8),
            helper.make_node("Transpose", ["levels"], ["image_u8"], perm=[0, 2, 3, 1]),
        ]
    )
    graph.output.append(helper.make_tensor_value_info("image_u8", onnx.TensorProto.UINT8, ["batch", 6, 4, 3]))
    return model


def test_grey_levels_that_are_not_the_image_s(export: Path, reseal: Reseal) -> None:
    path = export / "generator.onnx"
    metadata = metadata_in(path)
    right = with_levels(onnx.load(path), 0)
    wrong = with_levels(onnx.load(path), 2)
    onnx.save(right, path)
    reseal(path, metadata)
    assert [one.status for one in GeneratorCheck(path).run("g")] == ["PASS", "PASS", "PASS"]
    onnx.save(wrong, path)
    reseal(path, metadata)
    assert failure(path).detail == "its output `image_u8` is not what `image` rounds to"


def test_a_provider_that_is_not_here(tiny_export: Path) -> None:
    (failed,) = [one for one in check(tiny_export / "generator.onnx", "tensorrt") if one.status == "FAIL"]
    assert failed.what == "parity"
    assert "tensorrt" in failed.detail
