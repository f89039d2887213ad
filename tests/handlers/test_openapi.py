"""The document is the truth: what it lists is what the parser knows, and what it allows and forbids is tried."""

from __future__ import annotations

import dataclasses
import json
from importlib import resources
from typing import Any

import pytest

from handlers import openapi
from handlers.accept import MEDIA_TYPES
from handlers.answer import PHRASES
from handlers.answering import Call, answer_all
from handlers.envelopes import V1_FIELDS, V2_FIELDS, V2_PARAMETERS
from handlers.metadata import GeneratorMetadata
from handlers.request import FIELDS, request_from_fields
from handlers.session import GeneratorSession

jsonschema = pytest.importorskip("jsonschema")
NO_LIMIT_BYTES = 10**9


def schemas(metadata: GeneratorMetadata | None = None) -> dict[str, Any]:
    return openapi.document(metadata)["components"]["schemas"]  # type: ignore[no-any-return]


def validator(name: str, metadata: GeneratorMetadata | None = None) -> Any:
    """Of one of the document's schemas, its references resolved in the document."""
    return jsonschema.Draft202012Validator({"$ref": f"#/components/schemas/{name}", **openapi.document(metadata)})


def test_the_file_is_the_document() -> None:
    file = resources.files("handlers").joinpath("openapi.json")
    assert file.read_text(encoding="utf-8") == openapi.text(), "python -m handlers.openapi > handlers/openapi.json"


@pytest.mark.parametrize("of_a_model", [False, True])
def test_the_fields_are_the_parser_s(of_a_model: bool, tiny_metadata: GeneratorMetadata) -> None:
    found = schemas(tiny_metadata if of_a_model else None)
    assert tuple(found["V1Request"]["properties"]) == V1_FIELDS
    assert set(found["V2Request"]["properties"]) == set(V2_FIELDS)
    assert set(found["V2Request"]["properties"]["parameters"]["properties"]) == set(V2_PARAMETERS)
    assert set(found["ImageRequest"]["properties"]) == set(FIELDS)
    assert not found["ImageRequest"]["additionalProperties"]
    for schema in found.values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_the_answers_are_those_that_are_sent() -> None:
    document = openapi.document()
    for path in document["paths"].values():
        for method in ("get", "post"):
            if method in path:
                assert set(map(int, path[method]["responses"])) >= set(PHRASES)
    content = document["paths"][openapi.MODEL_PATH]["post"]["responses"]["200"]["content"]
    assert set(content) == set(MEDIA_TYPES.values())


# (field, allowed, just not allowed), at the limits that the document states
LIMITS: list[tuple[str, Any, Any]] = [
    ("n", 64, 65),
    ("n", 1, 0),
    ("n", 2, 2.5),
    ("seed", 2**32 - 1, 2**32),
    ("seed", 0, -1),
    ("truncation", 2.0, 2.0001),
    ("truncation", None, 0),
    ("class", 2, 3),
    ("class", [0, "Dog"], []),
    ("class", None, -1),
    ("class", [0] * 64, [0] * 65),
    ("scale", 8, 9),
    ("format", "npy", "gif"),
    ("return_z", False, 0),
    ("z", [[100.0] * 8], [[100.1] * 8]),
    ("z", [[0] * 8], [[0] * 7]),
    ("z", [[0] * 8] * 64, [[0] * 8] * 65),
    ("unknown", ..., 1),
]


@pytest.mark.parametrize(("field", "allowed", "forbidden"), LIMITS)
def test_the_document_and_the_parser_draw_the_same_line(
    field: str, allowed: Any, forbidden: Any, tiny_metadata: GeneratorMetadata
) -> None:
    schema = validator("ImageRequest", tiny_metadata)
    for value, good in ((allowed, True), (forbidden, False)):
        if value is ...:
            continue
        assert schema.is_valid({field: value}) is good
        if good:
            request_from_fields({field: value}, tiny_metadata)
        else:
            with pytest.raises(Exception, match=field):
                request_from_fields({field: value}, tiny_metadata)


@pytest.mark.parametrize("field", ["columns", "padding"])
def test_a_grid_s_limits(field: str, tiny_metadata: GeneratorMetadata) -> None:
    highest = {"columns": 64, "padding": 32}[field]
    for value, good in ((highest, True), (highest + 1, False)):
        fields = {"n": 64, field: value}
        assert validator("ImageRequest").is_valid(fields) is good
        if good:
            request_from_fields(fields, tiny_metadata)
        else:
            with pytest.raises(Exception, match=field):
                request_from_fields(fields, tiny_metadata)


def test_z_excludes_what_shapes_drawn_latents() -> None:
    z = {"z": [[0.0] * 8]}
    assert validator("ImageRequest").is_valid(z)
    assert not validator("ImageRequest").is_valid({**z, "seed": 1})
    assert not validator("ImageRequest").is_valid({**z, "truncation": None})


def test_a_model_without_classes_and_with_uniform_latents(tiny_metadata: GeneratorMetadata) -> None:
    metadata = dataclasses.replace(tiny_metadata, class_names=(), latent_distribution="uniform")
    schema = validator("ImageRequest", metadata)
    assert schema.is_valid({"class": None, "truncation": None})
    assert not schema.is_valid({"class": 0})
    assert not schema.is_valid({"truncation": 1})


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("ImagesAnswer", {"format": "json", "n": 2, "return_z": True}),
        ("ImagesAnswer", {"format": "json", "z": [[0.5] * 8]}),
        ("V1Answer", {"instances": [{}, {"n": 2}]}),
        ("V2Answer", {"inputs": [], "id": "a"}),
        ("V2Answer", {"inputs": [], "outputs": [{"name": "png"}]}),
        ("Error", {"n": 0}),
        ("Error", {"clas": 0}),
    ],
)
def test_answers_are_as_the_document_says(name: str, body: dict[str, Any], tiny_session: GeneratorSession) -> None:
    calls = [Call(data={"body": json.dumps(body).encode()}, headers={"content-type": "application/json"})]
    [answer] = answer_all(calls, tiny_session, NO_LIMIT_BYTES)
    validator(name, tiny_session.metadata).validate(json.loads(answer.body))
