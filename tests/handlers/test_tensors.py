from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from handlers.errors import Detail
from handlers.tensors import output_tensor, tensor_values, text_tensor


def values(rows: bool = False, **tensor: Any) -> tuple[list[Any] | None, list[Detail]]:
    problems: list[Detail] = []
    return tensor_values("inputs[0]", tensor, rows, problems), problems


@pytest.mark.parametrize("data", [[1, 2, 3, 4], [[1, 2], [3, 4]]])
def test_data_may_be_flat_or_nested(data: list[Any]) -> None:
    assert values(shape=[2, 2], datatype="FP32", data=data) == ([1, 2, 3, 4], [])
    assert values(rows=True, shape=[2, 2], datatype="FP32", data=data) == ([[1, 2], [3, 4]], [])


@pytest.mark.parametrize(
    ("datatype", "data"), [("INT64", [3]), ("UINT8", [3]), ("FP64", [0.5]), ("FP32", [3]), ("BYTES", ["cat"])]
)
def test_datatypes(datatype: str, data: list[Any]) -> None:
    assert values(shape=[1], datatype=datatype, data=data) == (data, [])


GOOD = {"shape": [2], "datatype": "INT64", "data": [1, 2]}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"shape": None}, "shape"),
        ({"shape": []}, "shape"),
        ({"shape": [1, 1, 1, 1, 2]}, "shape"),
        ({"shape": [True]}, "shape"),
        ({"shape": ["2"]}, "shape"),
        ({"shape": [2**62, 0], "data": []}, "shape"),  # as rows this would be 2**62 empty lists
        ({"shape": [10**400]}, "data"),
        ({"datatype": "FP31"}, "datatype"),
        ({"datatype": ["INT64"]}, "datatype"),
        ({"data": None}, "data"),
        ({"data": [1]}, "data"),
        ({"data": [1, [2]]}, "data"),
        ({"data": [[[[[1, 2]]]]]}, "data"),
        ({"data": [1, {}]}, "data"),
        ({"data": [1, 2.5]}, "data"),
        ({"data": [1, True]}, "data"),
        ({"data": [1, "2"]}, "data"),
        ({"datatype": "BYTES"}, "data"),
    ],
)
def test_what_is_no_tensor_is_said_once(change: dict[str, Any], field: str) -> None:
    found, problems = values(**{**GOOD, **change})
    assert found is None
    assert [problem.field for problem in problems] == [f"inputs[0].{field}"]


def test_rows_need_two_dimensions() -> None:
    assert values(rows=True, **GOOD)[1][0].reason == "it has 1 dimensions"


def test_outputs_are_row_major() -> None:
    pixels = np.arange(12, dtype=np.uint8).reshape(1, 2, 2, 3)
    assert output_tensor("x", pixels) == {
        "name": "x",
        "shape": [1, 2, 2, 3],
        "datatype": "UINT8",
        "data": list(range(12)),
    }
    assert text_tensor("y", ["a", "b"]) == {"name": "y", "shape": [2], "datatype": "BYTES", "data": ["a", "b"]}
