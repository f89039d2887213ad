"""The JSON in a generator file: equal after a round trip, refused when no consumer could act on it."""

from __future__ import annotations

import dataclasses
import json

import pytest

from handlers.errors import GeneratorFileError
from handlers.metadata import SCHEMA, GeneratorMetadata


def test_round_trip(tiny_metadata: GeneratorMetadata) -> None:
    full = dataclasses.replace(
        tiny_metadata,
        default_truncation=1.5,
        class_names=("Ä", "b"),
        metrics=({"fid": 3.5, "protocol": {"seed": 0}},),
    )
    text = full.to_json()
    assert json.loads(text)["schema"] == SCHEMA
    assert GeneratorMetadata.from_json(text, "x.onnx") == full
    assert GeneratorMetadata.from_json(text, "x.onnx").to_json() == text


def test_an_older_file_without_a_distribution_has_normal_latents(tiny_metadata: GeneratorMetadata) -> None:
    record = json.loads(tiny_metadata.to_json())
    del record["latent_distribution"]
    assert GeneratorMetadata.from_json(json.dumps(record), "x.onnx").latent_distribution == "normal"


def test_no_class_names_is_an_unconditional_model(tiny_metadata: GeneratorMetadata) -> None:
    record = json.loads(dataclasses.replace(tiny_metadata, class_names=()).to_json())
    assert record["class_names"] == []
    assert GeneratorMetadata.from_json(json.dumps(record), "x.onnx").num_classes == 0
    del record["class_names"]
    assert GeneratorMetadata.from_json(json.dumps(record), "x.onnx").num_classes == 0


def test_unknown_keys_are_let_through(tiny_metadata: GeneratorMetadata) -> None:
    record = {**json.loads(tiny_metadata.to_json()), "of_a_later_version": 1}
    assert GeneratorMetadata.from_json(json.dumps(record), "x.onnx") == tiny_metadata


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"schema": "sngan-generator/2"}, "metadata schema 'sngan-generator/2' is not"),
        ({"latent_dim": 0}, "latent_dim must be a positive integer"),
        ({"latent_dim": "8"}, "latent_dim must be a positive integer"),
        ({"color_mode": "L"}, "does not fit 3 channels"),
        ({"class_names": 5}, "incomplete"),
        ({"class_names": [1, 2]}, "class_names must be strings"),
        ({"version": 1}, "version must be a string"),
        ({"latent_distribution": "cauchy"}, "latent_distribution 'cauchy'"),
        ({"default_truncation": 0}, "default_truncation must be"),
        ({"default_truncation": "1"}, "incomplete"),
        ({"latent_distribution": "uniform", "default_truncation": 1.0}, "for normal latents"),
    ],
)
def test_impossible_facts_are_refused(tiny_metadata: GeneratorMetadata, changes: dict[str, object], words: str) -> None:
    record = {**json.loads(tiny_metadata.to_json()), **changes}
    with pytest.raises(GeneratorFileError, match=words) as caught:
        GeneratorMetadata.from_json(json.dumps(record), "x.onnx")
    assert str(caught.value).startswith("x.onnx: ")


@pytest.mark.parametrize("text", ["", "[]", "null", "{", '"sngan"', "7"])
def test_what_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(GeneratorFileError, match=r"^x\.onnx: "):
        GeneratorMetadata.from_json(text, "x.onnx")


def test_a_missing_fact_is_named(tiny_metadata: GeneratorMetadata) -> None:
    record = json.loads(tiny_metadata.to_json())
    del record["latent_dim"]
    with pytest.raises(GeneratorFileError, match="latent_dim"):
        GeneratorMetadata.from_json(json.dumps(record), "x.onnx")
