"""What one request asks for, checked: fields → `ImageRequest`.

Every field may be left out. An unknown field is refused with the nearest known name, and so is one that would
have no effect, because a field that is ignored gives a wrong picture without a word. All that is wrong is said
at once, field by field.
"""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Mapping
from typing import Any

from handlers.accept import MEDIA_TYPES, format_for
from handlers.body import shown
from handlers.checks import boolean, choice, error_of, integer, is_number, refuse_unknown
from handlers.classes import class_ids
from handlers.errors import Detail
from handlers.latents import MAX_SEED
from handlers.metadata import GeneratorMetadata

FIELDS = (
    "class", "n", "seed", "truncation", "z", "return_z",
    "format", "image_format", "quality", "layout", "columns", "padding", "scale",
)  # fmt: skip
MAX_IMAGES = 64
MAX_TRUNCATION = 2.0
# A normal latent is never beyond 9; far beyond, a float16 network's sums overflow.
MAX_Z = 100.0
MAX_PADDING = 32
MAX_SCALE = 8
MAX_QUALITY = 100
LAYOUTS = ("single", "grid")
PICTURE_FORMATS = ("png", "jpeg", "webp")  # one file for all images; the others keep them apart
GRID_PADDING = 2


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ImageRequest:
    """A request that can be answered.

    Attributes:
        n: images, 1 ... 64.
        seed: 0 ... 2**32 - 1; image i depends on (seed, i, class, truncation) alone. With `z` it decides no more than
            the classes that were left to it.
        classes: one class id an image, or None: each image's class comes from the seed. Always None for an
            unconditional model.
        truncation: the bound t of |z| ≤ t, or None: no bound.
        z: the latents themselves, one row an image, or None: they are drawn.
        return_z: whether the answer lists the latents.
        format: one of `MEDIA_TYPES`.
        image_format: how the images in a zip or json answer are encoded.
        quality: 1 ... 100 for JPEG and WebP. None is 90 for JPEG, and for WebP no loss at all.
        layout: "single" or "grid" for a format that is one picture; None is single for n = 1, else grid.
        columns: images a row of a grid; None makes it nearly square.
        padding: black pixels around each image of a grid, 0 ... 32.
        scale: nearest-neighbour enlargement, 1 ... 8; of a grid's padding too.
    """

    n: int
    seed: int
    classes: tuple[int, ...] | None
    truncation: float | None
    z: tuple[tuple[float, ...], ...] | None = None
    return_z: bool = False
    format: str = "png"
    image_format: str = "png"
    quality: int | None = None
    layout: str | None = None
    columns: int | None = None
    padding: int = GRID_PADDING
    scale: int = 1

    @property
    def is_grid(self) -> bool:
        """Whether the answer is one picture of many places."""
        if self.format not in PICTURE_FORMATS:
            return False
        return self.n > 1 if self.layout is None else self.layout == "grid"

    @property
    def encoding(self) -> str:
        """The image file format inside the answer, whatever that is; "" where there is none."""
        if self.format in PICTURE_FORMATS:
            return self.format
        return "" if self.format == "npy" else self.image_format


def request_from_fields(
    fields: Mapping[str, Any], metadata: GeneratorMetadata, accept: str | None = None
) -> ImageRequest:
    """Check the fields of a JSON object.

    `"truncation": null` means no bound; without the field the model's default holds. `"class": null` and no
    field mean the same: drawn from the seed. A seed is drawn when none is given. `format` beats `accept`.

    Raises:
        RequestError: 400 for an unknown field, 422 for a value that cannot be taken, 406 for `accept`.
    """
    refuse_unknown(fields, FIELDS)

    problems: list[Detail] = []
    n = integer("n", fields.get("n", _default_n(fields)), 1, MAX_IMAGES, problems)
    seed = integer("seed", fields.get("seed", 0), 0, MAX_SEED, problems)
    if "seed" not in fields:
        seed = secrets.randbelow(MAX_SEED + 1)
    classes = class_ids(fields.get("class"), n, metadata, problems)
    z, truncation = None, metadata.default_truncation
    if "z" in fields:
        z, truncation = _latents(fields, n, metadata, problems), None
    elif "truncation" in fields:
        truncation = _truncation(fields["truncation"], metadata, problems)
    chosen = choice("format", fields["format"], MEDIA_TYPES, problems) if "format" in fields else format_for(accept)
    form = _form(fields, n, problems)
    if chosen and not problems:
        _refuse_without_effect(fields, chosen, n, problems)
    if problems:
        raise error_of(422, "InvalidField", problems)
    return ImageRequest(n=n, seed=seed, classes=classes, truncation=truncation, z=z, format=chosen, **form)


def _default_n(fields: Mapping[str, Any]) -> int:
    """As many images as latents or classes are listed; what is wrong with a list is said where it is read."""
    for name in ("z", "class"):
        given = fields.get(name)
        if isinstance(given, list) and 1 <= len(given) <= MAX_IMAGES:
            return len(given)
    return 1


def _truncation(value: Any, metadata: GeneratorMetadata, problems: list[Detail]) -> float | None:
    if value is None:
        return None
    if metadata.latent_distribution != "normal":
        reason = f"this model's latents are {metadata.latent_distribution}; truncation is for normal latents"
        problems.append(Detail(field="truncation", reason=reason, allowed="null, or leave it out"))
        return None
    if is_number(value, 0, MAX_TRUNCATION) and value != 0:
        return float(value)
    reason = f"{shown(value)} cannot be used"
    problems.append(
        Detail(field="truncation", reason=reason, allowed=f"a number, 0 < t <= {MAX_TRUNCATION:g}, or null")
    )
    return None


def _latents(
    fields: Mapping[str, Any], n: int, metadata: GeneratorMetadata, problems: list[Detail]
) -> tuple[tuple[float, ...], ...] | None:
    """The rows of the field `z`; else None, and one more problem."""
    for name in ("seed", "truncation"):
        if name in fields:
            reason = "it shapes latents that are drawn, and z gives them"
            problems.append(Detail(field=name, reason=reason, allowed=f"{name} or z, not both"))
    value, reason = fields["z"], ""
    if not isinstance(value, list) or len(value) != n:
        reason = f"{shown(value)} does not fit n = {n}"
    else:
        for index, row in enumerate(value):
            if not isinstance(row, list) or len(row) != metadata.latent_dim:
                reason = f"entry {index} is {shown(row)}"
                break
            wrong = next((entry for entry in row if not is_number(entry, -MAX_Z, MAX_Z)), Ellipsis)
            if wrong is not Ellipsis:
                reason = f"entry {index} holds {shown(wrong)}"
                break
    if reason:
        allowed = f"a list of n lists of {metadata.latent_dim} numbers, each {-MAX_Z:g} ... {MAX_Z:g}"
        problems.append(Detail(field="z", reason=reason, allowed=allowed))
        return None
    return tuple(tuple(float(entry) for entry in row) for row in value)


def _form(fields: Mapping[str, Any], n: int, problems: list[Detail]) -> dict[str, Any]:
    """The fields that say how the images are handed over, those that were given."""
    form: dict[str, Any] = {}
    if "return_z" in fields:
        form["return_z"] = boolean("return_z", fields["return_z"], problems)
    for name, known in (("image_format", PICTURE_FORMATS), ("layout", LAYOUTS)):
        if name in fields:
            form[name] = choice(name, fields[name], known, problems)
    for name, low, high in (
        ("quality", 1, MAX_QUALITY),
        ("columns", 1, n),
        ("padding", 0, MAX_PADDING),
        ("scale", 1, MAX_SCALE),
    ):
        if name in fields:
            form[name] = integer(name, fields[name], low, high, problems)
    return form


def _refuse_without_effect(fields: Mapping[str, Any], format: str, n: int, problems: list[Detail]) -> None:
    """One more problem for each valid field that this answer could not heed."""

    def refuse(name: str, reason: str, allowed: str) -> None:
        if name in fields:
            problems.append(Detail(field=name, reason=reason, allowed=allowed))

    is_picture = format in PICTURE_FORMATS
    encoding = format if is_picture else fields.get("image_format", "png")
    if is_picture:
        refuse("image_format", f"the format {format} says it already", "format zip or json, or leave it out")
        if fields.get("layout") == "single" and n > 1:
            refuse("layout", f"one picture cannot show {n} images singly", "grid, or format zip, json or npy")
        if fields.get("layout", "grid" if n > 1 else "single") == "single":
            for name in ("columns", "padding"):
                refuse(name, "a single image has no grid", "layout grid, or leave it out")
    else:
        for name in ("layout", "columns", "padding"):
            refuse(name, f"a {format} answer keeps its images apart", "format png, jpeg or webp, or leave it out")
    if format == "npy":
        refuse("image_format", "an npy answer holds pixels, not files", "format zip or json, or leave it out")
    if format == "npy" or encoding == "png":
        refuse("quality", "nothing in this answer is lossy", "format or image_format jpeg or webp, or leave it out")
    if fields.get("return_z") is True and format not in ("json", "zip"):
        refuse("return_z", f"a {format} answer has no place for latents", "format json or zip, or false")
