"""The bodies of KServe's two protocols, as this handler understands them at any batch size.

V1 (`/v1/models/sngan:predict`) is `{"instances": [fields, …]}`, each entry a request of its own. The Open Inference
Protocol, V2 (`/v2/models/sngan/infer`), is tensors: `inputs` named like our fields, and scalars in `parameters`.
TorchServe's own envelopes look at the first request of a batch alone, and so are not used.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from handlers.accept import format_for
from handlers.body import shown
from handlers.checks import choice, error_of, refuse_unknown, unknown_field
from handlers.errors import Detail, RequestError
from handlers.metadata import GeneratorMetadata
from handlers.request import MAX_IMAGES, ImageRequest, request_from_fields
from handlers.tensors import tensor_values

V1_FIELDS = ("instances",)
V2_FIELDS = ("inputs", "id", "parameters", "outputs")
# Input tensors by their names → the request's fields. `label` is what the ONNX graph calls it.
V2_INPUTS = {"z": "z", "label": "class", "class": "class", "seed": "seed", "n": "n", "truncation": "truncation"}
V2_PARAMETERS = ("class", "n", "seed", "truncation", "scale")
V2_OUTPUTS = ("image_u8", "png")
MAX_ID_CHARACTERS = 256


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """All that one body asks for.

    Attributes:
        envelope: "" for a plain body, else "v1" or "v2".
        requests: one, or in V1 one an instance; at most `MAX_IMAGES` images together.
        id: V2's, to be handed back.
        output: V2's: "image_u8", pixels, or "png", files.
    """

    envelope: str = ""
    requests: tuple[ImageRequest, ...]
    id: str | None = None
    output: str = V2_OUTPUTS[0]


def read_envelope(fields: Mapping[str, Any], metadata: GeneratorMetadata, accept: str | None = None) -> Asked:
    """The requests in a body's fields.

    Raises:
        RequestError: 400, 406 or 422, as for a plain request; in V1 the fields at fault are named `instances[0].n`.
    """
    if "instances" in fields:
        refuse_unknown(fields, V1_FIELDS)
        format_for(accept, ("json",))  # both protocols answer in JSON alone
        return Asked(envelope="v1", requests=_instances(fields["instances"], metadata))
    if "inputs" in fields:
        refuse_unknown(fields, V2_FIELDS)
        format_for(accept, ("json",))  # both protocols answer in JSON alone
        return _tensors(fields, metadata)
    return Asked(requests=(request_from_fields(fields, metadata, accept),))


def _instances(instances: Any, metadata: GeneratorMetadata) -> tuple[ImageRequest, ...]:
    if not isinstance(instances, list) or not 1 <= len(instances) <= MAX_IMAGES:
        reason = f"{shown(instances)} is not a list of 1 to {MAX_IMAGES} requests"
        raise error_of(422, "InvalidField", [_detail("instances", reason, 'such as [{"class": 3, "seed": 1}]')])
    requests = []
    for index, fields in enumerate(instances):
        where = f"instances[{index}]"
        if not isinstance(fields, dict):
            reason = f"{shown(fields)} is not an object"
            raise error_of(422, "InvalidField", [_detail(where, reason, 'an object such as {"class": 3, "n": 4}')])
        if fields.get("format", "json") != "json":
            reason = f"{shown(fields['format'])} cannot stand in a list of predictions"
            raise error_of(422, "InvalidField", [_detail(f"{where}.format", reason, "json, or leave it out")])
        try:
            requests.append(request_from_fields({**fields, "format": "json"}, metadata))
        except RequestError as error:
            details = [dataclasses.replace(detail, field=f"{where}.{detail.field}") for detail in error.details]
            raise error_of(error.code, error.type, details) from error
    total = sum(request.n for request in requests)
    if total > MAX_IMAGES:
        reason = f"the instances ask for {total} images together"
        raise error_of(422, "InvalidField", [_detail("instances", reason, f"{MAX_IMAGES} images a request")])
    return tuple(requests)


def _tensors(fields: Mapping[str, Any], metadata: GeneratorMetadata) -> Asked:
    problems: list[Detail] = []
    meant: dict[str, Any] = {}
    _add_parameters(fields.get("parameters", {}), meant, problems)
    inputs = fields["inputs"]
    if not isinstance(inputs, list):
        problems.append(_detail("inputs", f"{shown(inputs)} is not a list", "a list of tensors, which may be empty"))
        inputs = []
    for index, tensor in enumerate(inputs[: len(V2_INPUTS) + 1]):
        _add_tensor(f"inputs[{index}]", tensor, meant, problems)
    id = fields.get("id")
    if id is not None and not (isinstance(id, str) and len(id) <= MAX_ID_CHARACTERS):
        reason = f"{shown(id)} is not a string of at most {MAX_ID_CHARACTERS} characters"
        problems.append(_detail("id", reason, "a string, or leave it out"))
    output = _output(fields.get("outputs", []), problems)
    if problems:
        raise error_of(422, "InvalidField", problems)
    request = request_from_fields({**meant, "format": "json" if output == "png" else "npy"}, metadata)
    return Asked(envelope="v2", requests=(request,), id=id, output=output)


def _add_parameters(parameters: Any, meant: dict[str, Any], problems: list[Detail]) -> None:
    if not isinstance(parameters, dict):
        problems.append(_detail("parameters", f"{shown(parameters)} is not an object", ", ".join(V2_PARAMETERS)))
        return
    for name, value in list(parameters.items())[: len(V2_PARAMETERS) + 1]:  # one of more is unknown
        if name not in V2_PARAMETERS:
            unknown = unknown_field(name, V2_PARAMETERS)
            problems.append(dataclasses.replace(unknown, field=f"parameters.{unknown.field}"))
        elif isinstance(value, (dict, list)) or value is None:
            problems.append(_detail(f"parameters.{name}", f"{shown(value)} is no scalar", "a number or a string"))
        else:
            meant[name] = value


def _add_tensor(where: str, tensor: Any, meant: dict[str, Any], problems: list[Detail]) -> None:
    """The field behind one input tensor, into `meant`."""
    if not isinstance(tensor, dict) or not isinstance(tensor.get("name"), str):
        problems.append(_detail(where, f"{shown(tensor)} has no name", "a tensor named " + ", ".join(V2_INPUTS)))
        return
    name = tensor["name"]
    if not choice(f"{where}.name", name, V2_INPUTS, problems):
        return
    field = V2_INPUTS[name]
    if field in meant:
        problems.append(_detail(where, f"{name} is given twice", "each field once"))
        return
    values = tensor_values(where, tensor, rows=name == "z", problems=problems)
    if values is None:
        return
    if field in ("z", "class"):
        meant[field] = values
    elif len(values) == 1:
        meant[field] = values[0]
    else:
        problems.append(_detail(where, f"{name} has {len(values)} elements", "1 element"))


def _output(outputs: Any, problems: list[Detail]) -> str:
    """The one output that is wanted."""
    if not isinstance(outputs, list) or len(outputs) > 1:
        problems.append(_detail("outputs", f"{shown(outputs)} names not one output", ", ".join(V2_OUTPUTS)))
        return ""
    if not outputs:
        return V2_OUTPUTS[0]
    name = outputs[0].get("name") if isinstance(outputs[0], dict) else None
    return choice("outputs[0].name", name, V2_OUTPUTS, problems)


def _detail(field: str, reason: str, allowed: str) -> Detail:
    return Detail(field=field, reason=reason, allowed=allowed)
