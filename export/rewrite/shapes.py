"""The shapes of a graph's values, with the batch known to be one batch everywhere.

ONNX's shape inference loses the batch at a Resize, whose scale 1 it multiplies, and at a Reshape to -1: after them the
sizes of two batches might differ for all it knows. ONNX Runtime infers by the same rules, and where it cannot tell that
two shapes are equal it adds outside of its convolutions what it could add inside.

In the graph of a generator the first dimension of every value that is computed, and has not another size, is the batch.
"""

from __future__ import annotations

import onnx
from onnx import shape_inference


def with_shapes(model: onnx.ModelProto, batch: str) -> onnx.ModelProto:
    """A copy of `model` that says the shape of every value, as far as it can be inferred."""
    return shape_inference.infer_shapes(with_batch_named(model, batch))


def with_batch_named(model: onnx.ModelProto, batch: str) -> onnx.ModelProto:
    """A copy of `model` that says the shapes of just those values at which inference would lose the batch."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    del result.graph.value_info[:]
    while (lost := _first_that_lost_the_batch(result, batch)) is not None:
        lost.type.tensor_type.shape.dim[0].dim_param = batch
        result.graph.value_info.append(lost)
    return result


def _first_that_lost_the_batch(model: onnx.ModelProto, batch: str) -> onnx.ValueInfoProto | None:
    inferred: dict[str, onnx.ValueInfoProto]
    inferred = {value.name: value for value in shape_inference.infer_shapes(model).graph.value_info}
    for node in model.graph.node:
        for value in (inferred[name] for name in node.output if name in inferred):
            dims = list(value.type.tensor_type.shape.dim)
            if dims and not dims[0].HasField("dim_value") and dims[0].dim_param != batch:
                return value
    return None
