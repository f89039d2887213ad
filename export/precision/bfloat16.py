"""bfloat16 is no file: OpenVINO computes the float32 file in it, if told to. Here that is held to a budget too."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx

from export.errors import ExportError
from export.precision.gate import GATE_IMAGES, Gate
from export.precision.gate_result import GateResult
from export.precision.sessions import open_session
from handlers.metadata import METADATA_KEY, GeneratorMetadata
from handlers.providers import PROVIDERS, with_options
from handlers.session import import_onnxruntime, usable_cores

SERVED_AS = "openvino-bf16"
OPENVINO_PROVIDER = PROVIDERS[SERVED_AS]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Bfloat16Check:
    """What the gate said of OpenVINO's bfloat16, or why it was not asked.

    Attributes:
        gate: None where the provider is not there.
        note: one line for the report.
    """

    gate: GateResult | None
    note: str

    def to_dict(self) -> dict[str, Any]:
        """For the report."""
        return {"note": self.note} if self.gate is None else {"note": self.note, **self.gate.to_dict()}


def verify_bfloat16(
    path: Path, *, num_images: int = GATE_IMAGES, say: Callable[[str], None] = lambda text: None
) -> Bfloat16Check:
    """Compare the float32 file `path` on OpenVINO in bfloat16 with the same file on ONNX Runtime's CPU provider.

    Raises ExportError where OpenVINO is there, and does not run the file.
    """
    available = import_onnxruntime().get_available_providers()
    if OPENVINO_PROVIDER not in available:
        return Bfloat16Check(
            gate=None,
            note="not present: this ONNX Runtime has no OpenVINO provider; `pip install 'sngan[openvino]'` in an "
            "environment of its own brings one",
        )
    model = onnx.load(path)
    texts = {entry.key: entry.value for entry in model.metadata_props}
    if METADATA_KEY not in texts:
        raise ExportError(f"{path}: an ONNX file without sngan metadata; `sngan export` writes one with it")
    metadata = GeneratorMetadata.from_json(texts[METADATA_KEY], str(path))
    # As the server opens it, so that the verdict is of what is served.
    _, options = with_options(SERVED_AS, usable_cores(), metadata, available)[0]
    session = open_session(model, OPENVINO_PROVIDER, options)
    result = Gate(model, metadata, num_images=num_images, say=say).compare("bfloat16", session, OPENVINO_PROVIDER)
    verdict = "within its budget" if result.passed else f"refused: {'; '.join(result.reasons)}"
    return Bfloat16Check(gate=result, note=f"OpenVINO in bfloat16 is {verdict} ({result.summary})")
