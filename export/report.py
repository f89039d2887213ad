"""`export_report.json`: what was written, what it was compared with and what was found."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any

import onnx
import torch

from export.check_folder import EXPORT_FORMAT
from export.parity import BATCH_SIZES, SEED, Batch, Parity
from export.seal import REPORT_SEAL, sealed_json
from handlers.metadata import GeneratorMetadata
from handlers.session import import_onnxruntime


@dataclasses.dataclass(kw_only=True, slots=True)
class Findings:
    """What an export found on its way, in the order in which it was found.

    Attributes:
        sigmas: `fold.sigma_report`.
        batches: what every form was compared on.
        folded: parity of folded PyTorch.
        targets: by target, its rewrites (name → how often) and parity; `written` says whether it has a file.
        precisions: by precision asked for beside float32, `written`, its gate and parity.
        reference: numbers of the un-folded network's images, for `sngan verify`; `reference_in_file` is a smaller part,
            for a generator file that has gone elsewhere.
    """

    sigmas: Sequence[Mapping[str, Any]]
    batches: list[Batch]
    folded: Parity
    reference: Mapping[str, Any]
    reference_in_file: Mapping[str, Any]
    targets: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    precisions: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)

    @property
    def num_images(self) -> int:
        """Images that every form was compared on."""
        return sum(len(batch.images) for batch in self.batches)

    def for_the_file(self, target: str, precision: str) -> dict[str, Any]:
        """What the metadata of a generator repeats."""
        of_the_graph = self.targets[target] if precision == "float32" else self.precisions[precision]
        return {
            "num_images": self.num_images,
            "batch_sizes": list(BATCH_SIZES),
            "fold_max_abs": self.folded.max_abs,
            "onnx_runtime_max_abs": of_the_graph["parity"]["max_abs"],
            "onnx_runtime_version": str(import_onnxruntime().__version__),
            "sigmas": [dict(entry) for entry in self.sigmas],
            "reference": dict(self.reference_in_file),
        }


def report_bytes(metadata: GeneratorMetadata, findings: Findings, files: Mapping[str, Mapping[str, Any]]) -> bytes:
    """The sealed text. Equal exports give equal bytes: no time and no place is in it."""
    return sealed_json(
        {
            "format": EXPORT_FORMAT,
            "sngan_version": package_version("sngan"),
            "versions": {
                "torch": torch.__version__,
                "onnx": onnx.__version__,
                "onnxruntime": str(import_onnxruntime().__version__),
            },
            "model": {"name": metadata.name, "version": metadata.version, "step": metadata.training["step"]},
            "files": {name: dict(facts) for name, facts in files.items()},
            "folding": [dict(entry) for entry in findings.sigmas],
            "parity": {
                "images": findings.num_images,
                "batch_sizes": list(BATCH_SIZES),
                "seed": SEED,
                "against": "un-folded PyTorch, float32",
                "folded": dataclasses.asdict(findings.folded),
            },
            "targets": findings.targets,
            "precisions": findings.precisions,
            "reference": dict(findings.reference),
        },
        REPORT_SEAL,
    )


def facts_of(path: Path, **facts: Any) -> dict[str, Any]:
    """`bytes` and `sha256` of a file, beside `facts`."""
    content = path.read_bytes()
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest(), **facts}
