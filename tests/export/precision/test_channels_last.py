from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.precision.channels_last import interleaved, repeated
from handlers.session import import_onnxruntime

CHANNELS, HEIGHT, WIDTH = 3, 2, 4


class Collector:
    """Nodes and constants as they are made."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def new_node(self, operator: str, inputs: Sequence[ir.Value], made: str, attributes: dict[str, Any]) -> ir.Value:
        self.nodes.append(helper.make_node(operator, [value.name for value in inputs], [made], **attributes))
        return ir.Value(name=made)

    def new_shape(self, sizes: Sequence[int], made: str) -> ir.Value:
        self.constants.append(numpy_helper.from_array(np.array(sizes, dtype=np.int64), made))
        return ir.Value(name=made)

    def run(self, inputs: dict[str, np.ndarray], output: ir.Value) -> np.ndarray:
        graph = helper.make_graph(
            self.nodes,
            "g",
            [helper.make_tensor_value_info(name, TensorProto.UINT8, array.shape) for name, array in inputs.items()],
            [helper.make_tensor_value_info(str(output.name), TensorProto.UINT8, None)],
            self.constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
        session = import_onnxruntime().InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        (result,) = session.run(None, inputs)
        return np.asarray(result)


@pytest.mark.parametrize("batch", [1, 2])
def test_interleaving_puts_every_phase_in_its_place(batch: int) -> None:
    generator = np.random.default_rng(0)
    names = ["x00", "x01", "x10", "x11"]
    phases = {name: generator.integers(0, 256, (batch, CHANNELS, HEIGHT, WIDTH), dtype=np.uint8) for name in names}
    made = Collector()
    output = interleaved([ir.Value(name=name) for name in names], CHANNELS, 2 * WIDTH, made.new_node, made.new_shape)
    expected = np.empty((batch, CHANNELS, 2 * HEIGHT, 2 * WIDTH), dtype=np.uint8)
    for name, phase in phases.items():
        expected[:, :, int(name[1]) :: 2, int(name[2]) :: 2] = phase
    assert (made.run(phases, output) == expected).all()


@pytest.mark.parametrize("batch", [1, 2])
def test_repeating_doubles_every_pixel(batch: int) -> None:
    value = np.random.default_rng(0).integers(0, 256, (batch, CHANNELS, HEIGHT, WIDTH), dtype=np.uint8)
    made = Collector()
    output = repeated(ir.Value(name="x"), CHANNELS, 2 * WIDTH, made.new_node, made.new_shape)
    expected = value.repeat(2, axis=2).repeat(2, axis=3)
    assert (made.run({"x": value}, output) == expected).all()
