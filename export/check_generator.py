"""Check one generator file with what any machine that runs it has: no checkpoint, no PyTorch, no `onnx`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export import schema
from export.checks import Check, in_order
from export.errors import VerificationError
from export.reference_images import compare, require_close
from export.seal import GENERATOR_SEAL, require_seal
from handlers.metadata import METADATA_KEY, GeneratorMetadata
from handlers.session import GeneratorSession, import_onnxruntime, to_uint8

LEVELS_IMAGES = 8  # that are drawn again, as grey levels


class GeneratorCheck:
    """The steps of checking `path`, in this order: each relies on those before it."""

    def __init__(
        self,
        path: Path,
        *,
        provider: str = "cpu",
        reference: Mapping[str, Any] | None = None,
        expected: Mapping[str, Any] | None = None,
    ) -> None:
        """Check `path`, which is not opened yet.

        Args:
            path: the file.
            provider: what draws the images; see GeneratorSession.
            reference: the images it must draw; None are those that the file itself brings.
            expected: facts that its metadata must state, by name.
        """
        self._path = path
        self._provider = provider
        self._reference = reference
        self._expected = expected or {}
        self._metadata: GeneratorMetadata | None = None
        self._own_reference: Mapping[str, Any] | None = None

    def run(self, subject: str) -> Iterator[Check]:
        """All steps, up to the first that fails."""
        steps = ("seal", self.check_seal), ("schema", self.check_schema), ("parity", self.check_parity)
        yield from in_order(subject, self._path, *steps)

    def check_seal(self) -> str:
        """The file is what was sealed."""
        content = self._path.read_bytes()
        require_seal(content, GENERATOR_SEAL)
        return f"SHA-256 {hashlib.sha256(content).hexdigest()}"

    def check_schema(self) -> str:
        """The metadata fit their schema, and the graph fits the metadata."""
        session = _open(self._path)
        text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
        if text is None:
            raise VerificationError("an ONNX file without sngan metadata; `sngan export` did not write it")
        # The reader comes first: it has the clearer words for another schema or a missing fact.
        self._metadata = GeneratorMetadata.from_json(text, str(self._path))
        record = json.loads(text)
        validated = schema.validates()
        if validated:
            schema.require_valid(record, schema.GENERATOR)
        for name, value in self._expected.items():
            if record.get(name, value) != value:
                raise VerificationError(f"states {name} {record[name]!r}, but is listed as {value!r}")
        _require_signature(session, self._metadata)
        verification = record.get("verification", {})
        self._own_reference = verification.get("reference") if isinstance(verification, dict) else None
        form = f"{record['schema']}, {record.get('precision', 'float32')}, target {record.get('target', 'portable')}"
        return form if validated else f"{form} (by the reader alone: jsonschema is not installed)"

    def check_parity(self) -> str:
        """The generator draws the images of the reference."""
        reference = self._reference or self._own_reference
        if reference is None:
            raise VerificationError("brings no reference images; export it again with this version")
        session = GeneratorSession(self._path, provider=self._provider)

        def draw(z: NDArray[np.float32], labels: NDArray[np.int64] | None) -> NDArray[np.float32]:
            try:
                images = session.generate(z, labels)
                levels = session.generate_levels(z[:LEVELS_IMAGES], None if labels is None else labels[:LEVELS_IMAGES])
            except Exception as error:  # onnxruntime's exception classes share no public base
                raise VerificationError(f"does not run: {_first_line(error)}") from error
            _require_levels(levels, images)
            return images

        differences = compare(reference, draw, session.metadata)
        precision = "bfloat16" if session.provider.endswith("-bf16") else session.metadata.precision
        return f"{require_close(differences, precision)} ({session.provider})"


def _open(path: Path) -> Any:
    """The file as ONNX Runtime reads it, optimised in no way."""
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exception classes share no public base
        raise VerificationError(f"ONNX Runtime cannot read it: {_first_line(error)}") from error


def _require_signature(session: Any, metadata: GeneratorMetadata) -> None:
    """Inputs and outputs are those that the metadata promise; the first dimension is the batch."""
    image = [metadata.channels, metadata.height, metadata.width]
    inputs = {"z": ("tensor(float)", [metadata.latent_dim])}
    if metadata.num_classes:
        inputs["label"] = ("tensor(int64)", [])
    outputs = {"image": ("tensor(float)", image)}
    optional = {"image_u8": ("tensor(uint8)", [*image[1:], image[0]])}
    found = session.get_outputs()
    if found[0].name != "image":
        raise VerificationError(f"its first output is {found[0].name!r}, and not 'image'")
    _require_values("input", session.get_inputs(), inputs, {})
    _require_values("output", found, outputs, optional)


def _require_values(
    kind: str, found: Any, needed: Mapping[str, tuple[str, list[int]]], optional: Mapping[str, tuple[str, list[int]]]
) -> None:
    names = [value.name for value in found]
    if not set(needed) <= set(names) <= {*needed, *optional}:
        raise VerificationError(f"has the {kind}s {', '.join(names)}, and not {', '.join(needed)}")
    for value in found:
        element, shape = {**needed, **optional}[value.name]
        if value.type != element or value.shape[1:] != shape or not value.shape or isinstance(value.shape[0], int):
            raise VerificationError(
                f"its {kind} {value.name!r} is {value.type} {value.shape}, and not {element} {['batch', *shape]}"
            )


def _require_levels(levels: NDArray[np.uint8], images: NDArray[np.float32]) -> None:
    """The output `image_u8` is `image`, but for values that another run rounds the other way."""
    expected = to_uint8(images[: len(levels)]).astype(np.int16)
    if expected.shape != levels.shape or np.abs(levels - expected).max() > 1:
        raise VerificationError("its output `image_u8` is not what `image` rounds to")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
