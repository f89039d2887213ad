"""The body of one request → its fields, a JSON object.

TorchServe hands a body over in many forms: already parsed when the content type is `application/json`, as
text for `text/*`, as bytes for the rest and for JSON that it could not parse; and a form's fields arrive
instead of a body. `sngan serve` turns TorchServe's own parsing off, because it loses duplicate keys, but the
handler runs on any TorchServe and so takes every form.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from handlers.errors import Detail, RequestError

OBJECT = 'a JSON object such as {"class": 3, "n": 4}'
REMEDY = "send the fields as JSON with -H 'Content-Type: application/json'"
READ_AS_JSON = ("application/json", "application/octet-stream", "text/json", "text/plain", "")
SHOWN_CHARACTERS = 60


def shown(value: object) -> str:
    """`value` as a message may show it: like JSON, cut to `SHOWN_CHARACTERS`, without lone surrogates."""
    if isinstance(value, (dict, list)):
        return "an object" if isinstance(value, dict) else f"a list of {len(value)}"
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 200:
        return f"an integer of {value.bit_length()} bits"  # its digits would fill the message, or not convert
    if isinstance(value, str) and len(value) > SHOWN_CHARACTERS:
        value = value[:SHOWN_CHARACTERS] + "…"
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace").decode("utf-8")


def read_fields(data: Mapping[str, Any], headers: Mapping[str, str]) -> dict[str, Any]:
    """The fields of one request; an empty body has none.

    Args:
        data: one element of what TorchServe gives `handle`: the body under "body", or a form's fields; over gRPC the
            entries of `input`, where the body may be called "data" too.
        headers: the request's headers, names in lower case.

    Raises:
        RequestError: 415 when the body is not sent as JSON, 400 when it is not JSON or not an object.
    """
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if set(data) == {"data"} and not media_type:
        data = {"body": data["data"]}  # gRPC, by the name that TorchServe's own examples give a body
    extra = sorted(name for name in data if name != "body")
    if media_type.startswith(("application/x-www-form-urlencoded", "multipart/")):
        # `curl -d '{"n": 4}'` without a content type arrives as a form with no fields at all.
        if headers.get("content-length") == "0":
            return {}
        raise _not_json_type(media_type)
    if extra:
        names = ", ".join(shown(name) for name in extra[:5])
        raise RequestError(
            415,
            "UnsupportedMediaType",
            f"fields outside a JSON body are not read ({names}); {REMEDY}",
            [Detail(field="body", reason="fields came from a form or the query string", allowed=OBJECT)],
        )

    body = data.get("body", b"")
    if isinstance(body, (bytes, bytearray, str)):
        if len(body) == 0:
            return {}
        if media_type not in READ_AS_JSON and not media_type.endswith("+json"):
            raise _not_json_type(media_type)
        body = _parse(body)
    if not isinstance(body, dict):
        kind = "null" if body is None else shown(body)
        raise _malformed(f"the body must be {OBJECT}, not {kind}")
    return body


def _parse(body: bytes | bytearray | str) -> Any:
    """Strict JSON: UTF-8, no NaN or Infinity, no field given twice."""
    try:
        text = body if isinstance(body, str) else body.decode("utf-8-sig")
        return json.loads(text, object_pairs_hook=_without_duplicates, parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise _malformed(f"the body is not UTF-8 (byte {error.start})") from error
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise _malformed(f"the body is not JSON: {error.msg} ({where})") from error
    except RecursionError as error:
        raise _malformed("the body is nested too deeply") from error
    except ValueError as error:  # Python refuses integers of more than 4300 digits
        raise _malformed("the body holds a number with too many digits") from error


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of `pairs`; which of two equal names was meant, nobody can tell."""
    fields: dict[str, Any] = {}
    for name, value in pairs:
        if name in fields:
            raise _malformed(f"the body gives {shown(name)} twice")
        fields[name] = value
    return fields


def _refuse_constant(name: str) -> Any:
    raise _malformed(f"the body is not JSON: {name} is no JSON number")


def _malformed(message: str) -> RequestError:
    return RequestError(400, "MalformedBody", message, [Detail(field="body", reason=message, allowed=OBJECT)])


def _not_json_type(media_type: str) -> RequestError:
    return RequestError(
        415,
        "UnsupportedMediaType",
        f"content type {shown(media_type)} is not read; {REMEDY}",
        [Detail(field="content-type", reason=f"{shown(media_type)} is not read", allowed="application/json")],
    )
