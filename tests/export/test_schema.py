"""The schemas fit what is written, refuse what cannot be read, and go where the package goes."""

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import onnx
import pytest

from export import schema
from export.errors import VerificationError
from handlers.errors import GeneratorFileError
from handlers.metadata import GeneratorMetadata

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"


def golden_metadata() -> dict[str, Any]:
    record: dict[str, Any] = json.loads((GOLDEN / "generator_metadata_v1.json").read_text())
    return record


def golden_report() -> dict[str, Any]:
    record: dict[str, Any] = json.loads((GOLDEN / "export_report_v1.json").read_text())
    return record


@pytest.mark.parametrize("name", [schema.GENERATOR, schema.EXPORT])
def test_the_schemas_are_schemas(name: str) -> None:
    text = schema.schema_of(name)
    assert text["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert text["$id"].endswith(name)
    jsonschema.Draft202012Validator.check_schema(text)


def test_files_of_version_1_stay_readable() -> None:
    schema.require_valid(golden_metadata(), schema.GENERATOR)
    schema.require_valid(golden_report(), schema.EXPORT)


def test_what_is_written_fits(tiny_export: Path, tiny_metadata: GeneratorMetadata) -> None:
    schema.require_valid(json.loads((tiny_export / "export_report.json").read_text()), schema.EXPORT)
    (entry,) = onnx.load(tiny_export / "generator.onnx").metadata_props
    schema.require_valid(json.loads(entry.value), schema.GENERATOR)
    schema.require_valid(json.loads(tiny_metadata.to_json()), schema.GENERATOR)


@pytest.mark.parametrize("name", [schema.GENERATOR, schema.EXPORT])
def test_keys_of_a_later_version_are_let_through(name: str) -> None:
    record = golden_metadata() if name == schema.GENERATOR else golden_report()
    inner = record["training"] if name == schema.GENERATOR else next(iter(record["files"].values()))
    record["of_tomorrow"] = inner["of_tomorrow"] = {"anything": [1, None]}
    schema.require_valid(record, name)


WRONG_METADATA = {
    "schema": "sngan-generator/2",
    "latent_dim": 0,
    "class_names": ["a", 1],
    "channels": 2,
    "height": "32",
    "width": -1,
    "color_mode": "L",
    "default_truncation": -0.5,
    "name": None,
    "version": 1.0,
    "latent_distribution": "cauchy",
}


@pytest.mark.parametrize("key", WRONG_METADATA)
def test_what_the_reader_refuses_the_schema_refuses(key: str) -> None:
    record = {**golden_metadata(), key: WRONG_METADATA[key]}
    with pytest.raises(VerificationError, match="does not fit the schema sngan-generator-1: "):
        schema.require_valid(record, schema.GENERATOR)
    with pytest.raises(GeneratorFileError):
        GeneratorMetadata.from_json(json.dumps(record), "f")


@pytest.mark.parametrize("key", schema.schema_of(schema.GENERATOR)["required"])
def test_what_must_be_there(key: str) -> None:
    record = golden_metadata()
    del record[key]
    with pytest.raises(VerificationError, match=key):
        schema.require_valid(record, schema.GENERATOR)
    with pytest.raises(GeneratorFileError):
        GeneratorMetadata.from_json(json.dumps(record), "f")


def change_hash(record: dict[str, Any]) -> None:
    next(iter(record["files"].values()))["sha256"] = "abc"


def change_reference(record: dict[str, Any]) -> None:
    del record["reference"]["values"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (change_hash, r"files\.README\.md\.sha256"),
        (change_reference, "reference: 'values'"),
        (lambda record: record["files"].clear(), "files"),
        (lambda record: record.update(report_seal="0"), "report_seal"),
        (lambda record: record["reference"].update(seed=-1), r"reference\.seed"),
        *(
            (lambda record, name=name: record["files"].update({name: {"sha256": "0" * 64, "bytes": 1}}), "files")
            for name in ("/etc/passwd", "../up", "a/../../up", "C:\\x", "a\\b", "", ".", "a/./b")
        ),
    ],
)
def test_what_a_report_must_not_say(change: Callable[[dict[str, Any]], None], message: str) -> None:
    record = golden_report()
    change(record)
    with pytest.raises(VerificationError, match=f"schema sngan-export-1: {message}"):
        schema.require_valid(record, schema.EXPORT)


def test_a_reason_does_not_quote_a_whole_file() -> None:
    record = {**golden_metadata(), "class_names": "x" * 100_000}
    with pytest.raises(VerificationError) as raised:
        schema.require_valid(record, schema.GENERATOR)
    assert len(str(raised.value)) < 300


def test_the_schemas_are_in_the_wheel() -> None:
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folder = ROOT / "export" / "schemas"
    packed = {path.name for pattern in setuptools["package-data"]["export.schemas"] for path in folder.glob(pattern)}
    assert "export.schemas" in setuptools["packages"]
    assert packed == {f"{name}.schema.json" for name in (schema.GENERATOR, schema.EXPORT)}
