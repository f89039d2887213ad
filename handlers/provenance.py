"""What a picture says of its own making, so that it can be made again from the file and the model alone.

The record is JSON, schema `sngan-picture/1`: the model's name, version and hashes, and under `request` fields that any
server of ours takes. `index` tells which image of that request's seed the picture is; null, that it is all of them.
"""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image

from handlers.drawing import labels_of
from handlers.encodings import TEXT_KEYWORD
from handlers.errors import PictureError
from handlers.metadata import GeneratorMetadata
from handlers.request import MAX_IMAGES, ImageRequest

SCHEMA = "sngan-picture/1"
HASHES = ("file_sha256", "weights_sha256")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Provenance:
    """How a picture was made.

    Attributes:
        model: "name", "version", "precision" and the `HASHES`, which are null where the generator tells none.
        request: the fields of the request.
        index: the picture is image `index` of those that the request's seed draws; None: it shows all.
    """

    model: Mapping[str, Any]
    request: Mapping[str, Any]
    index: int | None

    def to_json(self) -> str:
        """ASCII text; equal records give equal text."""
        record = {"schema": SCHEMA, "model": self.model, "request": self.request, "index": self.index}
        return json.dumps(record, separators=(",", ":"), sort_keys=True, allow_nan=False)


def model_facts(metadata: GeneratorMetadata) -> dict[str, Any]:
    """What identifies the generator: `file_sha256` its very bytes, `weights_sha256` those that it was trained to."""
    provenance = metadata.provenance
    return {
        "name": metadata.name,
        "version": metadata.version,
        "precision": metadata.precision,
        "file_sha256": _text(provenance.get("generator_seal")),
        "weights_sha256": _text(provenance.get("generator_ema_sha256")),
    }


def of_picture(request: ImageRequest, metadata: GeneratorMetadata) -> Provenance:
    """The record of the one picture that shows all images of `request`, in its layout."""
    fields = _drawing_fields(request, metadata)
    if request.is_grid:
        columns = {} if request.columns is None else {"columns": request.columns}
        fields |= {"layout": "grid", "padding": request.padding, **columns}
    return Provenance(model=model_facts(metadata), request=fields, index=None)


def of_image(request: ImageRequest, metadata: GeneratorMetadata, index: int) -> Provenance:
    """The record of image `index` alone: the same whatever `n` the request had."""
    fields = _drawing_fields(request, metadata)
    fields["n"] = 1
    if "class" in fields:
        fields["class"] = fields["class"][index : index + 1]
    if request.z is None:
        return Provenance(model=model_facts(metadata), request=fields, index=index)
    fields["z"] = fields["z"][index : index + 1]
    return Provenance(model=model_facts(metadata), request=fields, index=0)


def _drawing_fields(request: ImageRequest, metadata: GeneratorMetadata) -> dict[str, Any]:
    """The fields that decide the pixels of the images, nothing left to a default."""
    labels = labels_of(request, metadata)
    fields: dict[str, Any] = {"n": request.n, "scale": request.scale}
    if labels is not None:
        fields["class"] = labels.tolist()
    if request.z is not None:
        return {**fields, "z": request.z}
    return {**fields, "seed": request.seed, "truncation": request.truncation}


def read_provenance(picture: Path | bytes, where: str | None = None) -> Provenance:
    """The record in a PNG, JPEG or WebP file of ours. Its fields come from a stranger: they are not checked here.

    Args:
        picture: a file, or what is in one.
        where: what the picture is, for the messages; None is its path.

    Raises:
        PictureError: no such picture, or none that says how it was made.
    """
    where = where or (str(picture) if isinstance(picture, Path) else "the picture")
    try:
        file = io.BytesIO(picture) if isinstance(picture, bytes) else picture
        # Only the head is read: no pixel is decoded.
        with Image.open(file, formats=("PNG", "JPEG", "WEBP")) as image:
            is_png = image.format == "PNG"
            text = image.info.get(TEXT_KEYWORD) if is_png else image.getexif().get(ExifTags.Base.ImageDescription)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "it cannot be read as one"
        raise PictureError(f"{where}: no PNG, JPEG or WebP picture: {reason}") from error
    if not isinstance(text, str):
        raise PictureError(
            f"{where}: does not say how it was made; pictures of `sngan sample` and `sngan serve` do, unless another "
            "program has written them anew"
        )
    return _parse(text, where)


def _parse(text: str, where: str) -> Provenance:
    try:
        record = json.loads(text)
        schema = record["schema"]
        known = {name: record[name] for name in ("model", "request", "index")}
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise PictureError(f"{where}: what it says of its making is damaged") from error
    if schema != SCHEMA:
        raise PictureError(f"{where}: says how it was made as {schema!r}; this version of sngan reads {SCHEMA!r}")
    index = known["index"]
    is_index = isinstance(index, int) and not isinstance(index, bool) and 0 <= index < MAX_IMAGES
    if not (isinstance(known["model"], dict) and isinstance(known["request"], dict) and (index is None or is_index)):
        raise PictureError(f"{where}: what it says of its making is damaged")
    return Provenance(**known)


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Whether two records of `model_facts` are of one generator: one line for people, or "" if they are."""
    weights = [facts.get("weights_sha256") for facts in (before, now)]
    files = [facts.get("file_sha256") for facts in (before, now)]
    if None not in files and files[0] == files[1]:
        return ""
    if None not in weights and weights[0] == weights[1]:
        forms = " and ".join(_text(facts.get("precision")) or "?" for facts in (before, now))
        return f"the same weights in another file ({forms}): pixels may differ slightly"
    for name, (first, second) in (("weights", weights), ("file", files)):
        if first is not None and second is not None:
            return f"another model: the SHA-256 of its {name} is {str(second)[:12]}… and not {str(first)[:12]}…"
    return "whether this is the same model cannot be told: a SHA-256 is missing"


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
