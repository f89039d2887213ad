"""`sngan sample`: a picture from an ONNX file, a run or a server, whichever is given.

The ONNX path imports no torch and needs no data set. All three draw the same latents for the same seed.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sngan_cli.errors import UsageError
from sngan_cli.files import write_whole

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from handlers.metadata import GeneratorMetadata
    from handlers.provenance import Provenance
    from handlers.request import ImageRequest

app = typer.Typer(no_args_is_help=True)

FORMATS = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp", ".zip": "zip", ".npy": "npy"}
PICTURES = ("png", "jpeg", "webp")
# The fields of a request, as the server takes them → the body of its answer.
Ask = Callable[[Mapping[str, Any]], bytes]


@app.command()
def sample(
    source: Annotated[
        str,
        typer.Argument(help="A generator.onnx, a run's folder, or a server's URL such as http://127.0.0.1:8080."),
    ],
    class_: Annotated[
        list[str] | None,
        typer.Option(
            "--class", help="Name of a class, or its id unless names are digits; repeat it for one image of each."
        ),
    ] = None,
    n: Annotated[int | None, typer.Option("-n", help="Images, 1 to 64.", show_default="1, or one a --class")] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="0 to 4294967295; the same seed draws the same image.", show_default="0"),
    ] = None,
    truncation: Annotated[
        float | None,
        typer.Option(
            help="Bound on the latents, above 0 up to 2: smaller is cleaner and less varied.",
            show_default="the model's",
        ),
    ] = None,
    scale: Annotated[
        int | None, typer.Option(help="Enlarge every pixel to a square, 1 to 8.", show_default="1")
    ] = None,
    from_: Annotated[
        Path | None,
        typer.Option("--from", help="Make this picture of ours again: it says itself how it was drawn."),
    ] = None,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="What to write; its ending, .png .jpg .webp .zip or .npy, is the format."),
    ] = Path("sample.png"),
) -> None:
    """Draw images to a file; several become a grid. Prints the file's name."""
    format = FORMATS.get(output.suffix.lower())
    if format is None:
        raise UsageError(f"-o {output}: the ending says the format, and must be one of {', '.join(FORMATS)}")
    given = {"n": n, "seed": seed, "truncation": truncation, "class": list(class_) if class_ else None, "scale": scale}
    fields = {name: value for name, value in given.items() if value is not None}
    if from_ is not None:
        if fields or format not in PICTURES:
            unfit = f"--{next(iter(fields))}" if fields else f"-o {output}"
            raise UsageError(f"--from says all of how the picture is drawn; it does not go with {unfit}")
        content = _again(_asker(source), from_, format)
    else:
        content = _asker(source)({"seed": 0, **fields, "format": format})
    write_whole(content, output)
    if format in PICTURES:
        _preview(content)
    print(output)


def _again(ask: Ask, path: Path, format: str) -> bytes:
    """The picture at `path` drawn anew; says on stderr whether another model drew it."""
    from handlers.errors import RequestError
    from handlers.provenance import read_provenance
    from serve.client import InvalidRequestError

    before = read_provenance(path)
    try:
        content = (
            ask({**before.request, "format": format})
            if before.index is None
            else _one_of_many(ask, before, before.index, format)
        )
    except (RequestError, InvalidRequestError) as error:
        facts = before.model
        made_by = f"{facts.get('name')} {facts.get('version')}"
        raise UsageError(f"{path} was drawn by {made_by}, and this model cannot draw it again: {error}") from error
    _compare(before, content)
    return content


def _one_of_many(ask: Ask, before: Provenance, index: int, format: str) -> bytes:
    """Image `index` of a seed, asked for with all before it: the fields of a request cannot name it alone."""
    body = ask({**before.request, "n": index + 1, "format": "json", "image_format": format})
    return base64.b64decode(json.loads(body)["images"][index]["base64"])


def _compare(before: Provenance, content: bytes) -> None:
    from handlers.errors import PictureError
    from handlers.provenance import differences, read_provenance

    try:
        found = differences(before.model, read_provenance(content, "the new picture").model)
    except PictureError as error:
        found = str(error)
    if found:
        print(f"note: {found}", file=sys.stderr)


def _asker(source: str) -> Ask:
    if source.startswith(("http://", "https://")):
        return _server(source)
    return _run(Path(source)) if Path(source).is_dir() else _onnx(Path(source))


def _server(url: str) -> Ask:
    from serve.client import SnganClient

    client = SnganClient(url)
    return lambda fields: client.request(fields).body


def _onnx(path: Path) -> Ask:
    from handlers.batch import draw_all
    from handlers.session import GeneratorSession

    session = GeneratorSession(path)

    def draw(request: ImageRequest) -> NDArray[np.uint8]:
        [images] = draw_all(session, [request])
        if isinstance(images, Exception):
            raise images
        return images

    return lambda fields: _answer(fields, session.metadata, draw, session.provider)


def _run(run: Path) -> Ask:
    try:
        import torch

        from export.metadata import generator_metadata
        from sngan_train.checkpoint import open_checkpoint
    except ModuleNotFoundError as error:
        raise UsageError(
            f"sampling from a run needs {error.name}: `pip install 'sngan[train]'`, or give an exported generator.onnx"
        ) from error
    import dataclasses

    from handlers.drawing import labels_of, latents_of
    from handlers.session import to_uint8

    checkpoint = open_checkpoint(run)
    weights = (checkpoint.path / "generator_ema.safetensors").read_bytes()
    metadata = dataclasses.replace(
        generator_metadata(checkpoint, version=str(checkpoint.step)),
        provenance={"generator_ema_sha256": hashlib.sha256(weights).hexdigest()},
    )

    def draw(request: ImageRequest) -> NDArray[np.uint8]:
        given = (latents_of(request, metadata), labels_of(request, metadata))
        inputs = [torch.from_numpy(one) for one in given if one is not None]
        with torch.no_grad():
            return to_uint8(checkpoint.load_generator_ema()(*inputs).numpy())

    return lambda fields: _answer(fields, metadata, draw, "torch")


def _answer(
    fields: Mapping[str, Any],
    metadata: GeneratorMetadata,
    draw: Callable[[ImageRequest], NDArray[np.uint8]],
    provider: str,
) -> bytes:
    """What a server would answer."""
    from handlers.batch import with_classes
    from handlers.layouts import refuse_too_large
    from handlers.request import request_from_fields
    from handlers.response import image_answer

    request = with_classes(request_from_fields(fields, metadata), metadata)
    refuse_too_large([request], metadata, max_bytes=sys.maxsize)
    answer = image_answer(
        draw(request),
        request,
        metadata,
        provider=provider,
        request_id="",
        generate_ms=0.0,
        max_bytes=sys.maxsize,
    )
    return answer.body


def _preview(picture: bytes) -> None:
    if not sys.stderr.isatty():
        return
    import numpy as np
    from PIL import Image

    from sngan_cli.preview import show

    with Image.open(io.BytesIO(picture)) as image:
        pixels = np.asarray(image)
    show(pixels if pixels.ndim == 3 else pixels[:, :, None])
