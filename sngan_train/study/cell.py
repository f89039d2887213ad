"""One run of a study, and the small file that it leaves: enough to go on from on another day and another machine."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sngan_train.config import RunConfig
from sngan_train.errors import ConfigError, DataError, TrainError

FORMAT = "sngan-study-cell/1"
TRAINING, COST = "training", "cost"
# How a run is watched, where its images lie and how it is computed do not change what it finds.
WITHOUT_INFLUENCE = {
    "data": ("source", "residency"),
    "training": (
        "compile",
        "log_every",
        "sample_every",
        "spectrum_every",
        "save_every",
        "keep_checkpoints",
        "evaluate_every",
        "evaluate_protocol",
        "precision",
    ),
}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """What shall be run.

    Attributes:
        name: a path of plain words, unique over all studies of a scale: "cifar10-cnn/sn/A/seed-0".
        axes: what distinguishes it within its study, as shown in tables: {"method": "sn", "setting": "A", "seed": "0"}.
        kind: TRAINING trains and evaluates; COST times discriminator updates of every method.
        config: of the run.
        protocol: how it is evaluated.
        features: whose, for the evaluation.
        published: the paper's score, in words, or "".
    """

    name: str
    axes: Mapping[str, str]
    kind: str = TRAINING
    config: RunConfig
    protocol: str
    features: str
    published: str = ""

    @property
    def fingerprint(self) -> str:
        """Hash of all that the result depends on."""
        config = self.config.to_dict()
        config.pop("preset")
        for section, keys in WITHOUT_INFLUENCE.items():
            for key in keys:
                config[section].pop(key, None)
        text = json.dumps([self.kind, config, self.protocol, self.features], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        """Plain values that `from_dict` reads back to an equal object."""
        return {**dataclasses.asdict(self), "axes": dict(self.axes), "config": self.config.to_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Cell:
        """Raises ConfigError for a config that is none."""
        return cls(**{**values, "config": RunConfig.from_dict(values["config"])})


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class CellResult:
    """What came of a cell.

    Attributes:
        name, axes, fingerprint, published: the cell's.
        status: "done"; "diverged", which is a result too: a loss or weight stopped being finite; "failed", which is
            none: the cell is run again the next time.
        reason: why it diverged or failed.
        total_steps: generator updates asked for.
        record: `MetricRecord.to_dict()` of the last checkpoint, if done.
        spectrum: of the discriminator at the end, by layer: `LayerSpectrum.to_dict()`, if done.
        cost: of a COST cell, by method: median and quartiles of seconds relative to none.
        curve: [step, headline value] of each evaluation on the way, where the study asks for them.
        collapse_warnings: what the watch over the run said.
        train_seconds, evaluate_seconds: of the wall clock, in the process that finished it.
        sample: name of the picture beside the file, or "".
        environment: versions and hardware.
    """

    name: str
    axes: Mapping[str, str]
    fingerprint: str
    published: str = ""
    status: str
    reason: str = ""
    total_steps: int = 0
    record: Mapping[str, Any] | None = None
    spectrum: Mapping[str, Any] | None = None
    cost: Mapping[str, Any] | None = None
    curve: tuple[tuple[float, ...], ...] = ()
    collapse_warnings: tuple[str, ...] = ()
    train_seconds: float = 0.0
    evaluate_seconds: float = 0.0
    sample: str = ""
    environment: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CellResult:
        """Of plain values, as JSON gives them; keys that are none of ours are left out.

        Raises:
            TypeError, AttributeError: one is missing or of another kind.
        """
        known = {field.name: values[field.name] for field in dataclasses.fields(cls) if field.name in values}
        known["collapse_warnings"] = tuple(known.get("collapse_warnings", ()))
        known["curve"] = tuple(tuple(point) for point in known.get("curve", ()))
        return cls(**known)

    @property
    def finished(self) -> bool:
        """Whether the cell need not be run again."""
        return self.status in ("done", "diverged")

    def value(self, metric: str) -> float | None:
        """Of the metric record; None where there is none."""
        return self.record["values"].get(metric) if self.record else None


def result_path(root: Path, name: str) -> Path:
    """Where the result of the cell `name` is kept."""
    return root / "cells" / f"{name}.json"


def run_path(root: Path, name: str) -> Path:
    """Where the cell's run is kept, which may be deleted once it has a result."""
    return root / "runs" / name


def write_result(root: Path, result: CellResult) -> Path:
    """Write the result whole or not at all; raises TrainError if it cannot be."""
    path = result_path(root, result.name)
    values = {"format": FORMAT, **dataclasses.asdict(result)}
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise TrainError(f"{path}: cannot be written ({error.strerror})") from error
    return path


def read_result(root: Path, cell: Cell) -> CellResult | None:
    """The result of `cell`, None if it has none yet.

    Raises:
        ConfigError: the file is the result of another cell of that name: other steps, width, data size or protocol.
        DataError: it cannot be read.
    """
    path = result_path(root, cell.name)
    if not path.exists():
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values.pop("format") != FORMAT:
            raise DataError(f"{path}: not a result of the format {FORMAT}; delete it or use another --output")
        result = CellResult.from_dict(values)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: cannot be read ({error!r}); delete it to run the cell again") from error
    if result.finished and result.fingerprint != cell.fingerprint:
        raise ConfigError(
            f"{path}: was made with other settings than this study asks for (steps, width, image size or protocol); "
            "give another folder with --output, or delete it"
        )
    return result
