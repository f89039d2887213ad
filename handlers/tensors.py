"""Tensors of the Open Inference Protocol, as JSON: `{"name", "shape", "datatype", "data"}`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from handlers.body import shown
from handlers.errors import Detail

INTEGERS = ("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64")
FLOATS = ("FP16", "FP32", "FP64")
DATATYPES = (*INTEGERS, *FLOATS, "BYTES")
MAX_DIMENSIONS = 4


def tensor_values(where: str, tensor: dict[str, Any], rows: bool, problems: list[Detail]) -> list[Any] | None:
    """The elements of one input tensor: a list, or with `rows` a list of lists, each row an entry of the first axis.

    What a number may be is left to the field that it becomes. None, and one more problem, for what is no tensor.
    """

    def wrong(field: str, reason: str, allowed: str) -> None:
        problems.append(Detail(field=f"{where}.{field}", reason=reason, allowed=allowed))

    shape, datatype = tensor.get("shape"), tensor.get("datatype")
    if not _is_shape(shape):
        wrong("shape", f"{shown(shape)} is no shape", f"a list of 1 to {MAX_DIMENSIONS} sizes")
        return None
    if rows and len(shape) != 2:
        wrong("shape", f"it has {len(shape)} dimensions", "[n, latents]")
        return None
    if not isinstance(datatype, str) or datatype not in DATATYPES:
        wrong("datatype", f"{shown(datatype)} is not known", ", ".join(DATATYPES))
        return None
    data = _flat(tensor.get("data"), MAX_DIMENSIONS)
    if data is None or len(data) != math.prod(shape):
        found = "no list of numbers or strings" if data is None else f"{len(data)} elements"
        wrong("data", f"{found}, which does not fit the shape", f"{math.prod(shape)} elements in row-major order")
        return None
    unfit = next((value for value in data if not _fits(value, datatype)), Ellipsis)
    if unfit is not Ellipsis:
        wrong("data", f"{shown(unfit)} is no {datatype}", f"values of the datatype {datatype}")
        return None
    if not rows:
        return data
    width = shape[1]
    return [data[index * width : (index + 1) * width] for index in range(shape[0])]


def output_tensor(name: str, values: NDArray[np.uint8]) -> dict[str, Any]:
    """`values` as an output tensor of datatype UINT8, its elements in row-major order."""
    return {"name": name, "shape": list(values.shape), "datatype": "UINT8", "data": values.ravel().tolist()}


def text_tensor(name: str, values: Sequence[str]) -> dict[str, Any]:
    """Texts as an output tensor of datatype BYTES."""
    return {"name": name, "shape": [len(values)], "datatype": "BYTES", "data": list(values)}


def _is_shape(shape: Any) -> TypeGuard[list[int]]:
    return (
        isinstance(shape, list)
        and 1 <= len(shape) <= MAX_DIMENSIONS
        and all(isinstance(size, int) and not isinstance(size, bool) and size >= 1 for size in shape)
    )


def _flat(data: Any, depth: int) -> list[Any] | None:
    """The elements of lists nested at most `depth` deep, in order; None for anything else."""
    if not isinstance(data, list) or depth == 0:
        return None
    if not any(isinstance(entry, (list, dict)) for entry in data):
        return data
    elements: list[Any] = []
    for entry in data:
        inner = _flat(entry, depth - 1)
        if inner is None:
            return None
        elements += inner
    return elements


def _fits(value: Any, datatype: str) -> bool:
    if datatype == "BYTES":
        return isinstance(value, str)
    if isinstance(value, bool):
        return False
    return isinstance(value, int) if datatype in INTEGERS else isinstance(value, (int, float))
