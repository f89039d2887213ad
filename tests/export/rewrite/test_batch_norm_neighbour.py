"""Plain batch norms before and after, against torch's layers."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
import torch
from torch.nn import functional

from export.rewrite.batch_norm_neighbour import BATCH_NORM_NEIGHBOUR

Prove = Callable[..., onnx.ModelProto]
Stays = Callable[..., None]
Tensors = dict[str, torch.Tensor]

CHANNELS, EPSILON = 3, 2e-5
NORM = "BatchNormalization <epsilon: float = 2e-5>"
STATISTICS = "gamma, beta, mean, variance"


@pytest.fixture
def constants(random: np.random.Generator) -> dict[str, np.ndarray]:
    shapes = {
        "gamma": (CHANNELS,),
        "beta": (CHANNELS,),
        "mean": (CHANNELS,),
        "w": (CHANNELS, 2, 3, 3),
        "bias": (CHANNELS,),
        "transposed": (2, CHANNELS, 4, 4),
        "one": (CHANNELS, 2, 1, 1),
        "one_bias": (CHANNELS,),
        "rows": (CHANNELS * 4, 5),
        "columns": (5, CHANNELS * 4),
        "row_bias": (CHANNELS * 4,),
    }
    arrays = {name: random.standard_normal(shape, dtype=np.float32) * 0.5 for name, shape in shapes.items()}
    return {**arrays, "variance": random.uniform(0.3, 2, CHANNELS).astype(np.float32)}


def as_tensors(arrays: dict[str, np.ndarray]) -> Tensors:
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def normalized(x: torch.Tensor, given: Tensors) -> np.ndarray:
    statistics = (given[name] for name in ("mean", "variance", "gamma", "beta"))
    return functional.batch_norm(x, *statistics, eps=EPSILON).numpy()


def only(constants: dict[str, np.ndarray], *names: str) -> dict[str, np.ndarray]:
    return {name: constants[name] for name in ("gamma", "beta", "mean", "variance", *names)}


def operations(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


@pytest.fixture
def x(random: np.random.Generator) -> np.ndarray:
    return random.standard_normal((2, 2, 4, 6), dtype=np.float32)


@pytest.mark.parametrize("bias", ["", "bias"])
def test_into_a_convolution_with_and_without_bias(bias: str, prove: Prove, constants: dict, x: np.ndarray) -> None:
    inputs = ", ".join(["x", "w", *([bias] if bias else [])])
    text = f"""(float[batch, 2, 4, 6] x) => (float[batch, 3, 4, 6] y) {{
        c = Conv <pads = [1, 1, 1, 1]> ({inputs})
        y = {NORM} (c, {STATISTICS})
    }}"""
    given = only(constants, "w", *([bias] if bias else []))
    tensors = as_tensors({**given, "x": x})
    convolved = functional.conv2d(tensors["x"], tensors["w"], tensors.get("bias"), padding=1)
    after = prove(BATCH_NORM_NEIGHBOUR, text, given, {"x": x}, normalized(convolved, tensors))
    assert operations(after) == ["Conv"]


def test_into_a_transposed_convolution(prove: Prove, constants: dict, x: np.ndarray) -> None:
    text = f"""(float[batch, 2, 4, 6] x) => (float[batch, 3, 8, 12] y) {{
        c = ConvTranspose <pads = [1, 1, 1, 1], strides = [2, 2]> (x, transposed, bias)
        y = {NORM} (c, {STATISTICS})
    }}"""
    given = only(constants, "transposed", "bias")
    tensors = as_tensors({**given, "x": x})
    convolved = functional.conv_transpose2d(tensors["x"], tensors["transposed"], tensors["bias"], stride=2, padding=1)
    after = prove(BATCH_NORM_NEIGHBOUR, text, given, {"x": x}, normalized(convolved, tensors))
    assert operations(after) == ["ConvTranspose"]


@pytest.mark.parametrize(("weight", "attributes"), [("rows", "<transB = 1>"), ("columns", "")])
def test_into_a_linear_layer_that_is_reshaped(
    weight: str, attributes: str, prove: Prove, constants: dict, random: np.random.Generator
) -> None:
    text = f"""(float[batch, 5] z) => (float[batch, 3, 2, 2] y) <int64[4] shape = {{-1, 3, 2, 2}}> {{
        h = Gemm {attributes} (z, {weight}, row_bias)
        c = Reshape(h, shape)
        y = {NORM} (c, {STATISTICS})
    }}"""
    given = only(constants, weight, "row_bias")
    z = random.standard_normal((2, 5), dtype=np.float32)
    tensors = as_tensors({**given, "z": z})
    matrix = tensors[weight] if weight == "rows" else tensors[weight].T
    linear = functional.linear(tensors["z"], matrix, tensors["row_bias"]).view(2, CHANNELS, 2, 2)
    after = prove(BATCH_NORM_NEIGHBOUR, text, given, {"z": z}, normalized(linear, tensors))
    assert operations(after) == ["Gemm", "Reshape"]


def test_through_a_residual_sum_and_an_upsampling(prove: Prove, constants: dict, x: np.ndarray) -> None:
    text = f"""(float[batch, 2, 4, 6] x, float[batch, 2, 8, 12] h) => (float[batch, 3, 8, 12] y)
    <float[4] scales = {{1, 1, 2, 2}}> {{
        c = Conv <pads = [1, 1, 1, 1]> (h, w, bias)
        s = Conv (x, one, one_bias)
        u = Resize <mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor">
            (s, , scales)
        r = Add(c, u)
        y = {NORM} (r, {STATISTICS})
    }}"""
    given = only(constants, "w", "bias", "one", "one_bias")
    h = np.random.default_rng(1).standard_normal((2, 2, 8, 12), dtype=np.float32)
    tensors = as_tensors({**given, "x": x, "h": h})
    shortcut = functional.conv2d(tensors["x"], tensors["one"], tensors["one_bias"])
    residual = functional.conv2d(tensors["h"], tensors["w"], tensors["bias"], padding=1)
    total = residual + functional.interpolate(shortcut, scale_factor=2.0, mode="nearest")
    after = prove(BATCH_NORM_NEIGHBOUR, text, given, {"x": x, "h": h}, normalized(total, tensors))
    assert operations(after) == ["Conv", "Conv", "Resize", "Add"]


def test_a_weight_that_two_layers_share_is_left_to_the_other(prove: Prove, constants: dict, x: np.ndarray) -> None:
    text = f"""(float[batch, 2, 4, 6] x) => (float[batch, 3, 4, 6] y) {{
        c = Conv <pads = [1, 1, 1, 1]> (x, w, bias)
        n = {NORM} (c, {STATISTICS})
        d = Conv <pads = [1, 1, 1, 1]> (x, w, bias)
        y = Mul(n, d)
    }}"""
    given = only(constants, "w", "bias")
    tensors = as_tensors({**given, "x": x})
    convolved = functional.conv2d(tensors["x"], tensors["w"], tensors["bias"], padding=1)
    expected = normalized(convolved, tensors) * convolved.numpy()
    after = prove(BATCH_NORM_NEIGHBOUR, text, given, {"x": x}, expected)
    assert "w" in [constant.name for constant in after.graph.initializer]


@pytest.mark.parametrize(
    "nodes",
    [
        pytest.param("n = {norm} (c, {statistics})  y = Add(n, c)", id="its input has another reader"),
        pytest.param("p = Relu(c)  y = {norm} (p, {statistics})", id="its input is no layer's output"),
    ],
)
def test_a_norm_that_must_stay(nodes: str, stays: Stays, constants: dict) -> None:
    body = "c = Conv <pads = [1, 1, 1, 1]> (x, w)  " + nodes.format(norm=NORM, statistics=STATISTICS)
    text = f"(float[batch, 2, 4, 6] x) => (float[batch, 3, 4, 6] y) {{ {body} }}"
    stays(BATCH_NORM_NEIGHBOUR, text, only(constants, "w"))
