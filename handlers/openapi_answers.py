"""The half of the OpenAPI document that tells what comes back."""

from __future__ import annotations

from typing import Any

from handlers.envelopes import V2_OUTPUTS
from handlers.latents import MAX_SEED
from handlers.request import MAX_IMAGES

Schema = dict[str, Any]


def _object(properties: Schema, optional: tuple[str, ...] = ()) -> Schema:
    """An object with exactly these properties, all there but the `optional` ones."""
    return {
        "type": "object",
        "additionalProperties": False,
        "required": [name for name in properties if name not in optional],
        "properties": properties,
    }


_TEXT: Schema = {"type": "string"}
_SIZE: Schema = {"type": "integer", "minimum": 1}
_SEED: Schema = {"type": ["integer", "null"], "minimum": 0, "maximum": MAX_SEED}
_IMAGE = _object(
    {
        "index": {"type": "integer", "minimum": 0},
        "class": {"type": ["integer", "null"], "minimum": 0},
        "class_name": {"type": ["string", "null"]},
        "seed": _SEED,
        "mime": {"enum": ["image/png", "image/jpeg", "image/webp"]},
        "base64": {"type": "string", "contentEncoding": "base64"},
        "z": {"type": "array", "items": {"type": "number"}},
    },
    optional=("z",),
)
_IMAGES = _object(
    {
        "model": _object(
            {
                "name": _TEXT,
                "version": _TEXT,
                "variant": _TEXT,
                "provider": _TEXT,
                "sha256": {"type": ["string", "null"]},
            }
        ),
        "n": {"type": "integer", "minimum": 1, "maximum": MAX_IMAGES},
        "seed": _SEED,
        "truncation": {"type": ["number", "null"]},
        "width": _SIZE,
        "height": _SIZE,
        "images": {"type": "array", "items": _IMAGE, "minItems": 1, "maxItems": MAX_IMAGES},
        "request_id": _TEXT,
    },
    optional=("request_id",),  # a prediction of many has none of its own
)
_TENSOR = _object(
    {
        "name": {"enum": list(V2_OUTPUTS)},
        "shape": {"type": "array", "items": _SIZE},
        "datatype": {"enum": ["UINT8", "BYTES"]},
        "data": {"type": "array"},
    }
)
_ERROR = _object(
    {
        "code": {"type": "integer"},
        "type": {**_TEXT, "description": "a name for programs"},
        "message": {**_TEXT, "description": "for people"},
        "details": {
            "type": "array",
            "items": _object({"field": _TEXT, "reason": _TEXT, "allowed": _TEXT}),
        },
        "request_id": _TEXT,
    }
)
ANSWER_SCHEMAS: Schema = {
    "ImagesAnswer": _IMAGES,
    "V1Answer": _object({"predictions": {"type": "array", "items": {"$ref": "#/components/schemas/ImagesAnswer"}}}),
    "V2Answer": _object(
        {"model_name": _TEXT, "model_version": _TEXT, "id": _TEXT, "outputs": {"type": "array", "items": _TENSOR}},
        optional=("id",),
    ),
    "Error": _ERROR,
    "ServerError": {
        "type": "object",
        "required": ["code", "type", "message"],
        "properties": {"code": {"type": "integer"}, "type": _TEXT, "message": _TEXT},
        "description": "TorchServe's own, or the handler's, which has `details` and `request_id` too",
    },
}


def _response(description: str, schema: str) -> Schema:
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {"description": description, "content": content}


ERROR_RESPONSES: Schema = {
    "400": _response(
        "Not JSON, no object, or an unknown or doubled field; or what HTTP itself forbids.", "ServerError"
    ),
    "406": _response("Accept takes none of the formats.", "Error"),
    "413": _response("The answer would be too large; or, without a body, the request is.", "Error"),
    "415": _response("The body is not sent as JSON.", "Error"),
    "422": _response("Well-formed, and not acceptable.", "Error"),
    "500": _response("The server failed on this request alone, or its worker died.", "ServerError"),
    "503": _response("Too many requests are waiting, or too many long answers under way: try again.", "ServerError"),
    "507": _response("The worker died while it held this request.", "ServerError"),
}


_ALWAYS = {
    "X-SNGAN-Count": "images",
    "X-SNGAN-Model-Version": "the model's version",
    "X-SNGAN-Provider": "what ran it",
    "X-SNGAN-Variant": "the model's precision",
    "Server-Timing": "milliseconds of drawing all of its batch, and of encoding",
}
_SOMETIMES = {
    "X-SNGAN-Seed": "where there is one seed",
    "X-SNGAN-Truncation": "its bound, or none",
    "X-SNGAN-Classes": "class ids in the order of the images, of a model with classes",
    "X-SNGAN-Grid": "rows x columns of a grid",
    "X-SNGAN-Model-SHA256": "of the generator file, where it states one",
    "X-Correlation-ID": "the request's",
    "traceparent": "the request's",
}
# Of every answer with images.
HEADERS: Schema = {
    name: {"description": description, "required": name in _ALWAYS, "schema": _TEXT}
    for name, description in {**_ALWAYS, **_SOMETIMES}.items()
}
