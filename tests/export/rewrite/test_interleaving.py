"""What is done around DepthToSpace: activations before it, pixels instead of values, and what follows it."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
import torch
from torch.nn import functional

from export.rewrite.activation_before_interleaving import ACTIVATION_BEFORE_INTERLEAVING
from export.rewrite.interleaving_of_pixels import INTERLEAVING_OF_PIXELS
from export.rewrite.pointwise_channels_last import POINTWISE_CHANNELS_LAST

Prove = Callable[..., onnx.ModelProto]
Stays = Callable[..., None]


def interleaved(stacked: np.ndarray, block_side: int = 2) -> np.ndarray:
    """ONNX's DCR order, which is not torch's: the block's place is the slowest of the channel's parts."""
    images, channels, height, width = stacked.shape
    shape = (images, block_side**2, channels // block_side**2, height, width)
    in_torch_order = torch.from_numpy(stacked).view(shape).transpose(1, 2).reshape(stacked.shape)
    return functional.pixel_shuffle(in_torch_order, block_side).numpy()


@pytest.mark.parametrize(("operation", "function"), [("Relu", torch.relu), ("Tanh", torch.tanh)])
def test_an_activation_of_concatenated_phases_comes_first(
    operation: str, function: Callable[[torch.Tensor], torch.Tensor], prove: Prove, random: np.random.Generator
) -> None:
    text = f"""(float[batch, 3, 2, 5] a, float[batch, 9, 2, 5] b) => (float[batch, 3, 4, 10] y) {{
        s = Concat <axis = 1> (a, b)
        d = DepthToSpace <blocksize = 2> (s)
        y = {operation}(d)
    }}"""
    a, b = (random.standard_normal((2, channels, 2, 5), dtype=np.float32) for channels in (3, 9))
    expected = function(torch.from_numpy(interleaved(np.concatenate([a, b], axis=1)))).numpy()
    after = prove(ACTIVATION_BEFORE_INTERLEAVING, text, {}, {"a": a, "b": b}, expected)
    assert [node.op_type for node in after.graph.node] == [operation, operation, "Concat", "DepthToSpace"]


def test_an_activation_of_one_value_comes_first(prove: Prove, random: np.random.Generator) -> None:
    text = """(float[batch, 16, 2, 5] a) => (float[batch, 1, 8, 20] y) {
        d = DepthToSpace <blocksize = 4> (a)
        y = Relu(d)
    }"""
    a = random.standard_normal((2, 16, 2, 5), dtype=np.float32)
    expected = np.maximum(interleaved(a, 4), 0)
    after = prove(ACTIVATION_BEFORE_INTERLEAVING, text, {}, {"a": a}, expected)
    assert [node.op_type for node in after.graph.node] == ["Relu", "DepthToSpace"]


def test_an_interleaving_with_another_reader_keeps_its_activation(stays: Stays) -> None:
    text = """(float[batch, 4, 2, 5] a) => (float[batch, 1, 4, 10] y) {
        d = DepthToSpace <blocksize = 2> (a)
        r = Relu(d)
        y = Add(d, r)
    }"""
    stays(ACTIVATION_BEFORE_INTERLEAVING, text, {})


def test_pixels_are_interleaved_as_values_are(prove: Prove, random: np.random.Generator) -> None:
    text = "(float[batch, 12, 2, 5] a) => (float[batch, 3, 4, 10] y) { y = DepthToSpace <blocksize = 2> (a) }"
    a = random.standard_normal((2, 12, 2, 5), dtype=np.float32)
    after = prove(INTERLEAVING_OF_PIXELS, text, {}, {"a": a}, interleaved(a))
    assert [node.op_type for node in after.graph.node] == ["Transpose", "Reshape", "Transpose", "Reshape", "Transpose"]


@pytest.mark.parametrize(
    "attributes", [pytest.param('blocksize = 2, mode = "CRD"', id="CRD"), pytest.param("blocksize = 1", id="no block")]
)
def test_another_interleaving_stays(attributes: str, stays: Stays) -> None:
    output = "3, 4, 10" if "2" in attributes else "12, 2, 5"
    text = f"(float[batch, 12, 2, 5] a) => (float[batch, {output}] y) {{ y = DepthToSpace <{attributes}> (a) }}"
    stays(INTERLEAVING_OF_PIXELS, text, {})


def test_a_class_s_scale_and_shift_and_relu_come_before_channels_do(prove: Prove, random: np.random.Generator) -> None:
    text = """(float[batch, 2, 5, 3] x, int64[batch] label) => (float[batch, 3, 2, 5] y) {
        t = Transpose <perm = [0, 3, 1, 2]> (x)
        g = Gather <axis = 0> (scales, label)
        p = Mul(t, g)
        h = Gather <axis = 0> (shifts, label)
        s = Add(p, h)
        y = Relu(s)
    }"""
    x = random.standard_normal((4, 2, 5, 3), dtype=np.float32)
    tables = {name: random.standard_normal((6, 3, 1, 1), dtype=np.float32) for name in ("scales", "shifts")}
    label = np.array([5, 0, 3, 3])
    scale, shift = (tables[name][label] for name in ("scales", "shifts"))
    expected = np.maximum(x.transpose(0, 3, 1, 2) * scale + shift, 0)
    after = prove(POINTWISE_CHANNELS_LAST, text, tables, {"x": x, "label": label}, expected, times=3)
    operations = [node.op_type for node in after.graph.node]
    assert operations == ["Gather", "Mul", "Gather", "Add", "Relu", "Transpose"]


def test_a_value_that_is_no_row_of_a_table_stays(stays: Stays) -> None:
    text = """(float[batch, 2, 5, 3] x, float[batch, 3, 2, 5] z) => (float[batch, 3, 2, 5] y) {
        t = Transpose <perm = [0, 3, 1, 2]> (x)
        y = Mul(t, z)
    }"""
    stays(POINTWISE_CHANNELS_LAST, text, {})
