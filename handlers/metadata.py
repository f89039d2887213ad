"""What a generator file says of itself: `metadata_props["sngan"]`, JSON, schema `sngan-generator/1`.

The exporter writes it; everything that runs the file reads it, and nothing else, to know the latent
dimension, the class names and the image's form. Unknown keys are let through: a later minor version may add
some.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from handlers.errors import GeneratorFileError
from handlers.latents import DISTRIBUTIONS

SCHEMA = "sngan-generator/1"
METADATA_KEY = "sngan"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class GeneratorMetadata:
    """The facts of one generator file.

    Attributes:
        name: the model's name, as in the URL.
        version: the model's version, as TorchServe shows it.
        latent_dim: columns of the input `z`.
        latent_distribution: "normal" (the standard one) or "uniform" (on [-1, 1]).
        class_names: one name a class, in the order of the labels; empty for an unconditional model.
        channels, height, width: of the output `image`, whose values are in [-1, 1].
        color_mode: "L" or "RGB".
        default_truncation: used where a request names none; None is no bound, and the rule for uniform latents.
        precision: "float32", "float16" or "int8".
        target: whose runtime the graph is written for, "cpu", "gpu" or "portable"; all are the same function.
        training: data source and facts, preset, step, EMA.
        metrics: metric records, each with its protocol.
        provenance: hashes and versions of what the file was made from.
        verification: differences measured when the file was written.
    """

    name: str
    version: str
    latent_dim: int
    latent_distribution: str = "normal"
    class_names: tuple[str, ...] = ()
    channels: int
    height: int
    width: int
    color_mode: str
    default_truncation: float | None = None
    precision: str = "float32"
    target: str = "portable"
    training: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    metrics: tuple[Mapping[str, Any], ...] = ()
    provenance: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    verification: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def num_classes(self) -> int:
        """The number of classes; 0 for an unconditional model."""
        return len(self.class_names)

    def to_json(self) -> str:
        """The text that `from_json` reads back to an equal object. Sorted keys: equal facts, equal bytes."""
        return json.dumps({"schema": SCHEMA, **dataclasses.asdict(self)}, sort_keys=True, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str, where: str) -> GeneratorMetadata:
        """Read the text of `metadata_props["sngan"]`.

        Args:
            text: JSON.
            where: what the text came from, for the message.

        Raises:
            GeneratorFileError: no JSON object, another schema, or a fact that is missing or impossible.
        """
        try:
            record = json.loads(text)
        except ValueError as error:
            raise GeneratorFileError(f"{where}: its sngan metadata is not JSON ({error})") from error
        schema = record.get("schema") if isinstance(record, dict) else None
        if schema != SCHEMA:
            raise GeneratorFileError(
                f"{where}: metadata schema {schema!r} is not {SCHEMA!r}; "
                "use the sngan version that wrote the file, or export it again with this one"
            )
        known = {field.name: record[field.name] for field in dataclasses.fields(cls) if field.name in record}
        try:
            for name in ("class_names", "metrics"):
                if name in known:
                    known[name] = tuple(known[name])
            metadata = cls(**known)
            _check(metadata)
        except (TypeError, ValueError) as error:
            raise GeneratorFileError(f"{where}: its sngan metadata is incomplete: {error}") from error
        return metadata


def _check(metadata: GeneratorMetadata) -> None:
    """Refuse facts that no consumer could act on, before one of them fails far from here."""
    for name in ("name", "version", "precision", "target"):
        value = getattr(metadata, name)
        if not isinstance(value, str):
            raise ValueError(f"{name} must be a string, got {value!r}")
    for name in ("latent_dim", "channels", "height", "width"):
        value = getattr(metadata, name)
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} must be a positive integer, got {value!r}")
    expected_mode = {1: "L", 3: "RGB"}.get(metadata.channels)
    if metadata.color_mode != expected_mode:
        raise ValueError(f"color_mode {metadata.color_mode!r} does not fit {metadata.channels} channels")
    if not all(isinstance(name, str) for name in metadata.class_names):
        raise ValueError("class_names must be strings")
    if metadata.latent_distribution not in DISTRIBUTIONS:
        raise ValueError(f"latent_distribution {metadata.latent_distribution!r} is not one of {DISTRIBUTIONS}")
    truncation = metadata.default_truncation
    if truncation is not None and metadata.latent_distribution != "normal":
        raise ValueError("default_truncation is for normal latents")
    if truncation is not None and not truncation > 0:
        raise ValueError(f"default_truncation must be null or > 0, got {truncation!r}")
