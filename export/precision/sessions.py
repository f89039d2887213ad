"""A graph in memory, opened in ONNX Runtime and asked for pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from export.errors import ExportError
from export.precision.serving_draws import Draw
from handlers.session import QUIET, import_onnxruntime, usable_cores

CPU_PROVIDER = "CPUExecutionProvider"


def open_session(
    model: onnx.ModelProto, provider: str = CPU_PROVIDER, provider_options: Mapping[str, str] | None = None
) -> Any:
    """An InferenceSession of `model` that `provider` really runs.

    Raises ExportError where ONNX Runtime refuses the graph, or put another provider in the place of the one asked for
    (which it does with a line in its log and no exception).
    """
    onnxruntime = import_onnxruntime()
    if provider not in onnxruntime.get_available_providers():
        raise ExportError(f"this ONNX Runtime has no {provider}; `sngan doctor` says what to install")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = QUIET
    options.intra_op_num_threads = usable_cores()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # other work may want the cores
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=[(provider, dict(provider_options or {}))]
        )
    except Exception as error:  # onnxruntime's exception classes share no public base
        reason = str(error).strip().splitlines()[0]
        raise ExportError(f"ONNX Runtime does not run the converted graph: {reason}") from error
    running = session.get_providers()[0]
    if running != provider:
        raise ExportError(f"asked for {provider}, ONNX Runtime took {running}; its log says why")
    return session


def draw_images(session: Any, draw: Draw) -> NDArray[np.float32]:
    """The pictures of one batch: float32 (n, channels, height, width), in [-1, 1] if the graph is sound."""
    images: NDArray[np.float32] = session.run(["image"], draw.feed)[0]
    return images
