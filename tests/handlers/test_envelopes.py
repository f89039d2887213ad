from __future__ import annotations

from typing import Any

import pytest

from handlers.envelopes import read_envelope
from handlers.errors import RequestError
from handlers.metadata import GeneratorMetadata

LABEL = {"name": "label", "shape": [2], "datatype": "INT64", "data": [2, 0]}
Z = {"name": "z", "shape": [2, 8], "datatype": "FP32", "data": [0.5] * 16}


def refused(fields: dict[str, Any], metadata: GeneratorMetadata, accept: str | None = None) -> RequestError:
    with pytest.raises(RequestError) as caught:
        read_envelope(fields, metadata, accept)
    return caught.value


def test_a_plain_body_is_itself(tiny_metadata: GeneratorMetadata) -> None:
    asked = read_envelope({"n": 2, "seed": 1}, tiny_metadata, "image/webp")
    assert (asked.envelope, asked.requests[0].n, asked.requests[0].format) == ("", 2, "webp")


def test_v1_instances_are_requests(tiny_metadata: GeneratorMetadata) -> None:
    instances = [{"class": "DOG", "seed": 1}, {}, {"n": 3, "image_format": "webp", "format": "json"}]
    asked = read_envelope({"instances": instances}, tiny_metadata, "application/json")
    assert asked.envelope == "v1"
    assert [(request.n, request.format) for request in asked.requests] == [(1, "json"), (1, "json"), (3, "json")]
    assert asked.requests[0].classes == (1,)


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        ({"instances": []}, 422, "instances"),
        ({"instances": {}}, 422, "instances"),
        ({"instances": [{}] * 65}, 422, "instances"),
        ({"instances": [{"n": 33}, {"n": 32}]}, 422, "instances"),
        ({"instances": [{}, 3]}, 422, "instances[1]"),
        ({"instances": [{}, {"n": 0}]}, 422, "instances[1].n"),
        ({"instances": [{"clas": 0}]}, 400, "instances[0].clas"),
        ({"instances": [{"format": "png"}]}, 422, "instances[0].format"),
        ({"instances": [{"layout": "grid"}]}, 422, "instances[0].layout"),
        ({"instances": [{}], "n": 1}, 400, "n"),
        ({"instances": [{}], "inputs": []}, 400, "inputs"),
    ],
)
def test_v1_says_which_instance_is_wrong(
    fields: dict[str, Any], code: int, field: str, tiny_metadata: GeneratorMetadata
) -> None:
    error = refused(fields, tiny_metadata)
    assert (error.code, error.details[0].field) == (code, field)


def test_v2_tensors_are_fields(tiny_metadata: GeneratorMetadata) -> None:
    asked = read_envelope(
        {"id": "a", "inputs": [LABEL], "parameters": {"seed": 7, "truncation": 0.5, "scale": 2}}, tiny_metadata
    )
    [request] = asked.requests
    assert (asked.envelope, asked.id, asked.output) == ("v2", "a", "image_u8")
    assert (request.n, request.classes, request.seed, request.truncation, request.scale) == (2, (2, 0), 7, 0.5, 2)


def test_v2_takes_latents_names_and_single_elements(tiny_metadata: GeneratorMetadata) -> None:
    names = {"name": "class", "shape": [2, 1], "datatype": "BYTES", "data": [["Dog"], ["cat"]]}
    [request] = read_envelope({"inputs": [Z, names]}, tiny_metadata).requests
    assert (request.n, request.classes, request.z) == (2, (1, 0), ((0.5,) * 8,) * 2)
    seed, n = ({"name": name, "shape": [1], "datatype": "INT64", "data": [3]} for name in ("seed", "n"))
    [request] = read_envelope({"inputs": [seed, n], "outputs": [{"name": "png"}]}, tiny_metadata).requests
    assert (request.n, request.seed, request.format) == (3, 3, "json")
    assert read_envelope({"inputs": []}, tiny_metadata).requests[0].n == 1


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        ({"inputs": {}}, 422, "inputs"),
        ({"inputs": [3]}, 422, "inputs[0]"),
        ({"inputs": [{**LABEL, "name": "lable"}]}, 422, "inputs[0].name"),
        ({"inputs": [LABEL, LABEL]}, 422, "inputs[1]"),
        ({"inputs": [LABEL], "parameters": {"class": 1}}, 422, "inputs[0]"),
        ({"inputs": [{**LABEL, "name": "seed"}]}, 422, "inputs[0]"),
        ({"inputs": [{**LABEL, "data": [0]}]}, 422, "inputs[0].data"),
        ({"inputs": [{**LABEL, "data": [0, 3]}]}, 422, "class"),
        ({"inputs": [{**Z, "shape": [16]}]}, 422, "inputs[0].shape"),
        ({"inputs": [{**Z, "shape": [4, 4]}]}, 422, "z"),
        ({"inputs": [Z], "parameters": {"seed": 1}}, 422, "seed"),
        ({"inputs": [], "parameters": []}, 422, "parameters"),
        ({"inputs": [], "parameters": {"sed": 1}}, 422, "parameters.sed"),
        ({"inputs": [], "parameters": {"seed": [1]}}, 422, "parameters.seed"),
        ({"inputs": [], "id": 3}, 422, "id"),
        ({"inputs": [], "id": "x" * 257}, 422, "id"),
        ({"inputs": [], "outputs": [{"name": "image"}]}, 422, "outputs[0].name"),
        ({"inputs": [], "outputs": ["png"]}, 422, "outputs[0].name"),
        ({"inputs": [], "outputs": [{}, {}]}, 422, "outputs"),
        ({"inputs": [], "input": []}, 400, "input"),
        ({"inputs": [LABEL] * 100_000}, 422, "inputs[1]"),
    ],
)
def test_v2_says_what_is_wrong(fields: dict[str, Any], code: int, field: str, tiny_metadata: GeneratorMetadata) -> None:
    error = refused(fields, tiny_metadata)
    assert (error.code, error.details[0].field) == (code, field)


@pytest.mark.parametrize("fields", [{"instances": [{}]}, {"inputs": []}])
def test_both_answer_in_json_alone(fields: dict[str, Any], tiny_metadata: GeneratorMetadata) -> None:
    assert refused(fields, tiny_metadata, "image/png").code == 406
    assert read_envelope(fields, tiny_metadata, "image/png, */*;q=0.1").requests
