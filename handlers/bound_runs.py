"""Runs with inputs and outputs that stay in the device's memory: ONNX Runtime's IO binding, and on top CUDA graphs.

A CUDA graph is recorded at the first run of a batch size and replayed at every other: one launch in place of one for
each node. It reads and writes the same addresses each time, so every batch size has tensors of its own, and two runs
at once would mix. Source: ONNX Runtime's documentation of the CUDA provider, "Using CUDA Graphs". Not yet run on a
GPU; the binding itself is tested in the CPU's memory.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_BINDINGS = 16  # batch sizes and outputs that keep memory; what comes after runs without


@dataclasses.dataclass(frozen=True, slots=True)
class _Bound:
    """The tensors of one batch size, and how it is run."""

    binding: Any
    inputs: Mapping[str, Any]
    output: Any
    run_options: Any


class BoundRuns:
    """Runs of one session in the memory of one device."""

    def __init__(self, session: Any, onnxruntime: Any, device: str, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Nothing is allocated yet.

        Args:
            session: an InferenceSession; with the provider option `enable_cuda_graph` it records graphs.
            onnxruntime: the package.
            device: of the tensors, "cuda" or "cpu".
            shapes: of an image in each output, without the batch.
        """
        self._session, self._onnxruntime, self._device, self._shapes = session, onnxruntime, device, shapes
        self._types = {value.name: value.type for value in session.get_outputs()}
        self._bound: dict[tuple[str, int], _Bound] = {}

    def run(self, output: str, feed: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """What the session computes for the output of that name; a copy, which the next run leaves alone."""
        size = len(feed["z"])
        bound = self._bound.get((output, size))
        if bound is None:
            if len(self._bound) >= MAX_BINDINGS:
                return self._plainly(output, feed)
            bound = self._bound[output, size] = self._bind(output, size, feed)
        else:
            for name, tensor in bound.inputs.items():
                tensor.update_inplace(np.ascontiguousarray(feed[name]))
        self._session.run_with_iobinding(bound.binding, bound.run_options)
        return np.array(bound.output.numpy())

    def _bind(self, output: str, size: int, feed: Mapping[str, NDArray[Any]]) -> _Bound:
        tensors = self._onnxruntime.OrtValue
        inputs = {
            name: tensors.ortvalue_from_numpy(np.ascontiguousarray(array), self._device, 0)
            for name, array in feed.items()
        }
        kind = {"tensor(uint8)": np.uint8, "tensor(float)": np.float32}[self._types[output]]
        result = tensors.ortvalue_from_shape_and_type([size, *self._shapes[output]], kind, self._device, 0)
        binding = self._session.io_binding()
        for name, tensor in inputs.items():
            binding.bind_ortvalue_input(name, tensor)
        binding.bind_ortvalue_output(output, result)
        options = self._onnxruntime.RunOptions()
        options.add_run_config_entry("gpu_graph_id", str(len(self._bound) + 1))
        return _Bound(binding=binding, inputs=inputs, output=result, run_options=options)

    def _plainly(self, output: str, feed: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """-1 records no graph, which would take memory for good."""
        options = self._onnxruntime.RunOptions()
        options.add_run_config_entry("gpu_graph_id", "-1")
        result: NDArray[Any] = self._session.run([output], dict(feed), options)[0]
        return result
