"""`README.md` of an export: what the generator is, what was measured, how to run it, for whoever gets the folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handlers.latents import draw_latents
from handlers.metadata import GeneratorMetadata

CARD_NAME = "README.md"
PICTURE_NAME = "samples.png"
PICTURE_COLUMNS = 8
PICTURE_CLASSES = 10
PICTURE_SEED = 0
NO_LICENCE = (
    "Not stated by whoever exported this model. The terms of the training images may bind the weights; "
    "`sngan export --licence TEXT` fills this in."
)


def picture_latents(metadata: GeneratorMetadata) -> tuple[NDArray[np.float32], NDArray[np.int64] | None]:
    """Latents (n, latent_dim) and labels (n,) of the card's picture: a row a class, of up to PICTURE_CLASSES.

    Every row has the same latents, with the model's default truncation.
    """
    rows = min(PICTURE_CLASSES, metadata.num_classes) if metadata.num_classes else 4
    columns = range(PICTURE_COLUMNS) if metadata.num_classes else range(PICTURE_COLUMNS * rows)
    z = draw_latents(
        PICTURE_SEED,
        columns,
        metadata.latent_dim,
        truncation=metadata.default_truncation,
        distribution=metadata.latent_distribution,
    )
    if not metadata.num_classes:
        return z, None
    return np.tile(z, (rows, 1)), np.repeat(np.arange(rows, dtype=np.int64), PICTURE_COLUMNS)


def model_card(metadata: GeneratorMetadata, files: Mapping[str, Mapping[str, Any]], licence: str | None) -> str:
    """The text, in Markdown with the front matter that model hubs read.

    Args:
        metadata: of the float32 file.
        files: of the folder: `bytes`, `sha256`, and of generators `precision` and `target`, by name.
        licence: of the model, in its exporter's words.
    """
    parts = [
        _front_matter(licence),
        f"# {_plain(metadata.name)}, version {_plain(metadata.version)}",
        _what_it_is(metadata),
        f"![images of this generator]({PICTURE_NAME})",
        _rows(metadata),
        "## Trained on",
        _training(metadata),
        "## Measured",
        _metrics(metadata),
        "## Run it",
        _how_to_run(metadata),
        "## Files",
        _files(files),
        _proof(metadata),
        "## Licence",
        _plain(licence) if licence else NO_LICENCE,
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _front_matter(licence: str | None) -> str:
    text = json.dumps(licence or "unknown", ensure_ascii=False)  # a JSON string is a YAML one
    return f"---\nlicense: {text}\nlibrary_name: onnxruntime\ntags: [gan, sngan, onnx, image-generation]\n---"


def _what_it_is(metadata: GeneratorMetadata) -> str:
    kind = f"{metadata.num_classes} classes" if metadata.num_classes else "no classes"
    mode = "grey" if metadata.color_mode == "L" else "colour"
    return (
        f"A generative adversarial network with spectral normalisation (Miyato et al. 2018) that draws {mode} images "
        f"of {metadata.width} × {metadata.height} pixels; {kind}. Its input is {metadata.latent_dim} "
        f"{_latents(metadata)}."
    )


def _latents(metadata: GeneratorMetadata) -> str:
    if metadata.latent_distribution == "uniform":
        return "numbers drawn evenly from [-1, 1]"
    truncation = metadata.default_truncation
    return "standard normal numbers" + (f", by default kept within ±{truncation:g}" if truncation else "")


def _rows(metadata: GeneratorMetadata) -> str:
    if not metadata.num_classes:
        return ""
    names = metadata.class_names
    shown = "; ".join(f"{number} {_plain(name)}" for number, name in enumerate(names[:PICTURE_CLASSES]))
    more = f" (the first {PICTURE_CLASSES} of {len(names)})" if len(names) > PICTURE_CLASSES else ""
    return f"A row a class{more}, the same latents in every row, none chosen: {shown}."


def _training(metadata: GeneratorMetadata) -> str:
    training = metadata.training
    data = training.get("data", {})
    lines = [f"Images: {_plain(str(data.get('origin', 'not recorded')))}"]
    if "num_images" in data:
        lines[0] += f", {data['num_images']:,} of them"
    lines += [f"{key} `{data[key]}`" for key in ("sha256", "files_sha256") if data.get(key)]
    lines.append(f"Preset `{training.get('preset')}`, step {training.get('step'):,}, {training.get('weights')}")
    return "\n".join(f"- {line}" for line in lines)


def _metrics(metadata: GeneratorMetadata) -> str:
    if not metadata.metrics:
        return "Nothing yet. `sngan evaluate RUN`, then the export again, puts values here, each with its protocol."
    header = "| metric | value | protocol | real images | generated | features |\n|---|---|---|---|---|---|"
    rows = [row for record in metadata.metrics for row in _record_rows(record)]
    notes = sorted({note for record in metadata.metrics for note in record.get("notes", ())})
    return "\n".join([header, *rows]) + "".join(f"\n\n{_plain(note)}" for note in notes)


def _record_rows(record: Mapping[str, Any]) -> list[str]:
    protocol, extractor, real = (record.get(section, {}) for section in ("protocol", "extractor", "real"))
    where = (
        f"{_plain(str(protocol.get('name')))} | {real.get('images')} of {_plain(str(protocol.get('split')))} | "
        f"{protocol.get('fake_images')} | {_plain(str(extractor.get('name')))} "
        f"`{str(extractor.get('weights_sha256'))[:12]}`"
    )
    return [
        f"| {_plain(metric)}{' (headline)' if metric == record.get('headline') else ''} | "
        f"{'not finite' if value is None else f'{value:.4g}'} | {where} |"
        for metric, value in record.get("values", {}).items()
    ]


def _how_to_run(metadata: GeneratorMetadata) -> str:
    shape = f"(4, {metadata.latent_dim})"
    if metadata.latent_distribution == "uniform":
        draw = f"rng.uniform(-1, 1, {shape}).astype(numpy.float32)"
    else:
        draw = f"rng.standard_normal({shape}, dtype=numpy.float32)"
    feed = '{"z": z}'
    if metadata.num_classes:
        labels = [metadata.num_classes - 1] * 2 + [0] * 2
        feed = f'{{"z": z, "label": numpy.array({labels})}}'
    mode = "pixels[0, :, :, 0]" if metadata.channels == 1 else "pixels[0]"
    lines = [
        "import numpy, onnxruntime",
        "from PIL import Image",
        'session = onnxruntime.InferenceSession("generator.onnx", providers=["CPUExecutionProvider"])',
        "rng = numpy.random.default_rng(0)",
        f"z = {draw}",
        f'images = session.run(["image"], {feed})[0]  # (4, {metadata.channels}, {metadata.height}, {metadata.width})',
        "pixels = numpy.rint((images.clip(-1, 1) + 1) * 127.5).astype(numpy.uint8).transpose(0, 2, 3, 1)",
        f'Image.fromarray({mode}).save("first.png")',
    ]
    served = "Over HTTP, with `pip install 'sngan[serve,cpu]'`: `sngan serve sngan.mar`."
    return "```python\n" + "\n".join(lines) + "\n```\n\n" + served


def _files(files: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [
        f"| `{name}` | {facts.get('precision', '')} | {facts.get('target', '')} | {facts['bytes']:,} | "
        f"`{facts['sha256']}` |"
        for name, facts in files.items()
    ]
    return "\n".join(["| file | precision | graph for | bytes | SHA-256 |", "|---|---|---|---|---|", *rows])


def _proof(metadata: GeneratorMetadata) -> str:
    found = metadata.verification
    return (
        f"Compared on {found['num_images']} images at batch sizes {', '.join(map(str, found['batch_sizes']))}: folding "
        f"the spectral norm changed a value in [-1, 1] by at most {found['fold_max_abs']:.1e}, ONNX Runtime by at most "
        f"{found['onnx_runtime_max_abs']:.1e}. `export_report.json` has the rest; `sngan verify .` checks it again."
    )


def _plain(text: str) -> str:
    """Names come from folders: keep them from being read as Markdown or HTML."""
    one_line = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    return "".join(f"\\{character}" if character in "\\`*_[]|" else character for character in one_line)
