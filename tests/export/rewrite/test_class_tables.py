"""Conditional batch norms before and after, against torch's batch norm and embeddings."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
import torch
from torch.nn import functional

from export.rewrite.class_tables import CLASS_TABLES

Prove = Callable[..., onnx.ModelProto]
Stays = Callable[..., None]

NUM_CLASSES, CHANNELS, EPSILON = 5, 3, 2e-5
SIGNATURE = "(float[batch, 3, 4, 6] x, int64[batch] label) => (float[batch, 3, 4, 6] y) <int64[2] axes = {2, 3}>"
NORMALIZE = "n = BatchNormalization <epsilon: float = 2e-5> (x, own_scale, own_shift, mean, variance)"
ROWS = """
    g = Gather <axis = 0> (scale, label)
    class_scale = Unsqueeze(g, axes)
    b = Gather <axis = 0> (shift, label)
    class_shift = Unsqueeze(b, axes)
"""


@pytest.fixture
def constants(random: np.random.Generator) -> dict[str, np.ndarray]:
    def normal(*shape: int) -> np.ndarray:
        return random.standard_normal(shape, dtype=np.float32)

    return {
        "own_scale": normal(CHANNELS),
        "own_shift": normal(CHANNELS),
        "mean": normal(CHANNELS),
        "variance": random.uniform(0.3, 2, CHANNELS).astype(np.float32),
        "scale": normal(NUM_CLASSES, CHANNELS),
        "shift": normal(NUM_CLASSES, CHANNELS),
    }


@pytest.fixture
def feed(random: np.random.Generator) -> dict[str, np.ndarray]:
    return {
        "x": random.standard_normal((NUM_CLASSES, CHANNELS, 4, 6), dtype=np.float32),
        "label": np.arange(NUM_CLASSES)[::-1].copy(),
    }


def normalized(x: np.ndarray, given: dict[str, np.ndarray]) -> torch.Tensor:
    statistics = (torch.from_numpy(given[name]) for name in ("mean", "variance", "own_scale", "own_shift"))
    return functional.batch_norm(torch.from_numpy(x), *statistics, eps=EPSILON)


def of_class(x: torch.Tensor, label: np.ndarray, given: dict[str, np.ndarray]) -> torch.Tensor:
    scale, shift = (
        functional.embedding(torch.from_numpy(label), torch.from_numpy(given[n])) for n in ("scale", "shift")
    )
    return scale[:, :, None, None] * x + shift[:, :, None, None]


def operations(model: onnx.ModelProto) -> list[str]:
    return sorted(node.op_type for node in model.graph.node)


@pytest.mark.parametrize(
    "ending",
    [
        "p = Mul(class_scale, n)  y = Add(class_shift, p)",
        "p = Mul(n, class_scale)  y = Add(p, class_shift)",
    ],
)
def test_a_conditional_norm_is_one_multiply_add(ending: str, prove: Prove, constants: dict, feed: dict) -> None:
    expected = of_class(normalized(feed["x"], constants), feed["label"], constants).numpy()
    after = prove(CLASS_TABLES, f"{SIGNATURE} {{ {NORMALIZE} {ROWS} {ending} }}", constants, feed, expected)
    assert operations(after) == ["Add", "Gather", "Gather", "Mul"]
    assert after.graph.node[-1].output == ["y"]


def test_statistics_that_are_in_the_convolution_already(prove: Prove, constants: dict, feed: dict) -> None:
    tables = {name: constants[name] for name in ("scale", "shift")}
    expected = of_class(torch.from_numpy(feed["x"]), feed["label"], constants).numpy()
    text = f"{SIGNATURE} {{ {ROWS} p = Mul(class_scale, x)  y = Add(class_shift, p) }}"
    after = prove(CLASS_TABLES, text, tables, feed, expected)
    assert operations(after) == ["Add", "Gather", "Gather", "Mul"]


def test_norms_that_share_tables_and_rows(prove: Prove, constants: dict, feed: dict) -> None:
    """As the exporter writes an untrained network, whose tables are all alike: each norm has other statistics."""
    text = f"""{SIGNATURE} {{ {NORMALIZE} {ROWS}
        p = Mul(class_scale, n)
        h = Add(class_shift, p)
        m = BatchNormalization <epsilon: float = 2e-5> (h, own_scale, own_shift, variance, variance)
        q = Mul(class_scale, m)
        y = Add(class_shift, q)
    }}"""
    first = of_class(normalized(feed["x"], constants), feed["label"], constants).numpy()
    again = normalized(first, {**constants, "mean": constants["variance"]})
    expected = of_class(again, feed["label"], constants).numpy()
    after = prove(CLASS_TABLES, text, constants, feed, expected, times=2)
    assert operations(after) == sorted(["Add", "Gather", "Gather", "Mul"] * 2)


def test_another_reader_of_the_norm_keeps_it(prove: Prove, constants: dict, feed: dict) -> None:
    text = f"{SIGNATURE} {{ {NORMALIZE} {ROWS} p = Mul(class_scale, n)  s = Add(class_shift, p)  y = Add(s, n) }}"
    norm = normalized(feed["x"], constants)
    expected = (of_class(norm, feed["label"], constants) + norm).numpy()
    after = prove(CLASS_TABLES, text, constants, feed, expected)
    assert operations(after).count("BatchNormalization") == 1


def test_a_table_that_is_an_input_does_not_fit(stays: Stays, constants: dict) -> None:
    given = {name: array for name, array in constants.items() if name != "scale"}
    signature = SIGNATURE.replace("label)", f"label, float[{NUM_CLASSES}, {CHANNELS}] scale)")
    text = f"{signature} {{ {NORMALIZE} {ROWS} p = Mul(class_scale, n)  y = Add(class_shift, p) }}"
    stays(CLASS_TABLES, text, given)
