"""The HTTP interface as an OpenAPI 3.1 document: of one model, or of any (`openapi.json`).

`python -m handlers.openapi > handlers/openapi.json` writes the file anew after a change; a test compares the two, and
others send to the handler what the document allows and what it forbids.
"""

from __future__ import annotations

import json
from typing import Any

from handlers.accept import MEDIA_TYPES
from handlers.envelopes import MAX_ID_CHARACTERS, V2_INPUTS, V2_OUTPUTS, V2_PARAMETERS
from handlers.latents import MAX_SEED
from handlers.metadata import GeneratorMetadata
from handlers.openapi_answers import ANSWER_SCHEMAS, ERROR_RESPONSES, HEADERS
from handlers.request import (
    LAYOUTS,
    MAX_IMAGES,
    MAX_PADDING,
    MAX_QUALITY,
    MAX_SCALE,
    MAX_TRUNCATION,
    MAX_Z,
    PICTURE_FORMATS,
)
from handlers.tensors import DATATYPES, MAX_DIMENSIONS

Schema = dict[str, Any]
MODEL_PATH = "/predictions/sngan"
ERROR_REFERENCES: Schema = {code: {"$ref": f"#/components/responses/{code}"} for code in ERROR_RESPONSES}
HEADER_REFERENCES: Schema = {name: {"$ref": f"#/components/headers/{name}"} for name in HEADERS}


def document(metadata: GeneratorMetadata | None = None) -> Schema:
    """The document; with `metadata`, of that model: its classes, its latents, its version."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "SNGAN" if metadata is None else metadata.name,
            "version": "1" if metadata is None else metadata.version,
            "description": "Images drawn by a generator. Equal requests with a seed give equal images. "
            "Beyond this document lie TorchServe's own paths and errors.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "http://127.0.0.1:8080"}],
        "paths": {
            MODEL_PATH: {
                "parameters": _tracing(),
                "get": {
                    "operationId": "drawOne",
                    "summary": "One image of a class and seed that the server draws; Accept chooses the format.",
                    "responses": _responses(),
                },
                **_post("draw", "Images as asked for; `format` chooses the format, and without it Accept.", "Image"),
            },
            "/v1/models/sngan:predict": {
                "parameters": _tracing(),
                **_post("predictV1", "KServe's V1 protocol: each instance is a request of its own.", "V1"),
            },
            "/v2/models/sngan/infer": {
                "parameters": _tracing(),
                **_post("inferV2", "The Open Inference Protocol, V2.", "V2"),
            },
        },
        "components": {
            "headers": HEADERS,
            "responses": ERROR_RESPONSES,
            "schemas": {
                "ImageRequest": _image_request(metadata),
                "ClassEntry": _class_entry(metadata),
                "V1Request": _v1_request(),
                "V2Request": _v2_request(),
                **ANSWER_SCHEMAS,
            },
        },
    }


def _post(operation: str, summary: str, name: str) -> Schema:
    """A path's POST. A handler does not hear of the path, so that every path takes every body."""
    names = [name, *(other for other in ("Image", "V1", "V2") if other != name)]
    schema = {"anyOf": [{"$ref": f"#/components/schemas/{one}Request"} for one in names]}
    return {
        "post": {
            "operationId": operation,
            "summary": summary,
            "description": f"Meant for a body as {names[0]}Request; those of the other paths are understood here too.",
            "requestBody": {"required": False, "content": {"application/json": {"schema": schema}}},
            "responses": _responses(),
        }
    }


def _responses() -> Schema:
    answers: Schema = {media_type: {} for media_type in MEDIA_TYPES.values()}
    kinds = [{"$ref": f"#/components/schemas/{name}Answer"} for name in ("Images", "V1", "V2")]
    answers[MEDIA_TYPES["json"]] = {"schema": {"anyOf": kinds}}
    drawn = {"description": "The images.", "headers": HEADER_REFERENCES, "content": answers}
    return {"200": drawn, **ERROR_REFERENCES}


def _tracing() -> list[Schema]:
    echoed = "handed back as it is when it has its form, else left out"
    return [
        {"name": name, "in": "header", "required": False, "description": echoed, "schema": {"type": "string"}}
        for name in ("X-Correlation-ID", "traceparent")
    ]


def _integer(low: int, high: int | None, description: str) -> Schema:
    limits = {"minimum": low} if high is None else {"minimum": low, "maximum": high}
    return {"type": "integer", **limits, "description": description}


def _class_entry(metadata: GeneratorMetadata | None) -> Schema:
    if metadata is not None and metadata.num_classes == 0:
        return {"type": "null", "description": "this model has no classes"}
    highest = None if metadata is None else metadata.num_classes - 1
    name: Schema = {"type": "string", "minLength": 1, "description": "a name, in any letter case; or digits for an id"}
    if metadata is not None:
        name["examples"] = list(metadata.class_names[:MAX_IMAGES])
    return {"anyOf": [_integer(0, highest, "an id"), name]}


def _image_request(metadata: GeneratorMetadata | None) -> Schema:
    entry = {"$ref": "#/components/schemas/ClassEntry"}
    row: Schema = {"type": "array", "items": {"type": "number", "minimum": -MAX_Z, "maximum": MAX_Z}}
    if metadata is not None:
        row |= {"minItems": metadata.latent_dim, "maxItems": metadata.latent_dim}
    bound: Schema = {"type": ["number", "null"], "exclusiveMinimum": 0, "maximum": MAX_TRUNCATION}
    if metadata is not None and metadata.latent_distribution != "normal":
        bound = {"type": "null"}
    return {
        "type": "object",
        "additionalProperties": False,
        "description": "Every field may be left out. One that would have no effect is refused.",
        "properties": {
            "class": {
                "anyOf": [
                    entry,
                    {"type": "array", "items": entry, "minItems": 1, "maxItems": MAX_IMAGES},
                    {"type": "null"},
                ],
                "description": "one for all images or one an image; null lets the seed choose",
            },
            "n": _integer(1, MAX_IMAGES, "images; without it as many as `z` or `class` lists, else 1"),
            "seed": _integer(0, MAX_SEED, "image i depends on it and i alone; drawn, and told, without it"),
            "truncation": {**bound, "description": "bound t of |z| <= t; null: none; without it the model's"},
            "z": {
                "type": "array",
                "items": row,
                "minItems": 1,
                "maxItems": MAX_IMAGES,
                "description": "the latents, a row an image, instead of seed and truncation",
            },
            "return_z": {"type": "boolean", "description": "list the latents too; for json and zip"},
            "format": {"enum": list(MEDIA_TYPES), "description": "of the answer; comes before Accept"},
            "image_format": {"enum": list(PICTURE_FORMATS), "description": "of the files in json and zip"},
            "quality": _integer(1, MAX_QUALITY, "of JPEG (90 without it) and WebP (lossless without it)"),
            "layout": {"enum": list(LAYOUTS), "description": "of png, jpeg, webp; single for n = 1, else grid"},
            "columns": _integer(1, MAX_IMAGES, "images a row of a grid, at most n; without it nearly square"),
            "padding": _integer(0, MAX_PADDING, "black pixels around each image of a grid; 2 without it"),
            "scale": _integer(1, MAX_SCALE, "enlargement by nearest neighbour"),
        },
        "allOf": [{"not": {"required": ["z", "seed"]}}, {"not": {"required": ["z", "truncation"]}}],
        "examples": [{"class": 3, "n": 4, "seed": 1}],
    }


def _v1_request() -> Schema:
    request = {"$ref": "#/components/schemas/ImageRequest"}
    return {
        "type": "object",
        "additionalProperties": False,
        "required": ["instances"],
        "properties": {
            "instances": {"type": "array", "items": request, "minItems": 1, "maxItems": MAX_IMAGES},
        },
        "examples": [{"instances": [{"class": 3, "seed": 1}, {"n": 2, "seed": 2}]}],
    }


def _v2_request() -> Schema:
    size = {"type": "integer", "minimum": 1}
    tensor = {
        "type": "object",
        "required": ["name", "shape", "datatype", "data"],
        "properties": {
            "name": {"enum": list(V2_INPUTS)},
            "shape": {"type": "array", "items": size, "minItems": 1, "maxItems": MAX_DIMENSIONS},
            "datatype": {"enum": list(DATATYPES)},
            "data": {"type": "array", "description": "row-major, flat or nested"},
        },
    }
    output = {"type": "object", "required": ["name"], "properties": {"name": {"enum": list(V2_OUTPUTS)}}}
    scalar = {"type": ["integer", "number", "string"]}
    return {
        "type": "object",
        "additionalProperties": False,
        "required": ["inputs"],
        "properties": {
            "id": {"type": ["string", "null"], "maxLength": MAX_ID_CHARACTERS},
            "parameters": {
                "type": "object",
                "additionalProperties": False,
                "properties": {name: scalar for name in V2_PARAMETERS},
            },
            "inputs": {"type": "array", "items": tensor, "maxItems": len(set(V2_INPUTS.values()))},
            "outputs": {"type": "array", "items": output, "maxItems": 1},
        },
        "examples": [
            {
                "inputs": [{"name": "label", "shape": [2], "datatype": "INT64", "data": [3, 5]}],
                "parameters": {"seed": 1},
                "outputs": [{"name": "image_u8"}],
            }
        ],
    }


def text(metadata: GeneratorMetadata | None = None) -> str:
    """The document as a JSON file."""
    return json.dumps(document(metadata), indent=2) + "\n"


if __name__ == "__main__":
    print(text(), end="")
