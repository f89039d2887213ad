"""`sngan sample`: a picture from an ONNX file, a run or a server, whichever is given.

The ONNX path imports no torch and needs no data set. All three draw the same latents for the same seed.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from sngan_cli.errors import UsageError
from sngan_cli.files import write_whole

app = typer.Typer(no_args_is_help=True)


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
    seed: Annotated[int, typer.Option(help="0 to 4294967295; the same seed draws the same image.")] = 0,
    truncation: Annotated[
        float | None,
        typer.Option(
            help="Bound on the latents, above 0 up to 2: smaller is cleaner and less varied.",
            show_default="the model's",
        ),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The PNG to write.")] = Path("sample.png"),
) -> None:
    """Draw images to a PNG; several become a grid. Prints the file's name."""
    fields: dict[str, Any] = {"seed": seed}
    if class_:
        fields["class"] = list(class_)
    if n is not None:
        fields["n"] = n
    if truncation is not None:
        fields["truncation"] = truncation

    if source.startswith(("http://", "https://")):
        png = _from_server(source, fields)
    elif Path(source).is_dir():
        png = _from_run(Path(source), fields)
    else:
        png = _from_onnx(Path(source), fields)
    write_whole(png, output)
    _preview(png)
    print(output)


def _from_onnx(path: Path, fields: Mapping[str, Any]) -> bytes:
    from handlers.drawing import draw
    from handlers.request import request_from_fields
    from handlers.response import encode_png, one_picture
    from handlers.session import GeneratorSession

    session = GeneratorSession(path)
    request = request_from_fields(fields, session.metadata)
    return encode_png(one_picture(draw(session, request)))


def _from_server(url: str, fields: Mapping[str, Any]) -> bytes:
    from serve.client import SnganClient

    return SnganClient(url).request({**fields, "format": "png"}).body


def _from_run(run: Path, fields: Mapping[str, Any]) -> bytes:
    try:
        import torch

        from export.metadata import generator_metadata
        from sngan_train.checkpoint import open_checkpoint
    except ModuleNotFoundError as error:
        raise UsageError(
            f"sampling from a run needs {error.name}: `pip install 'sngan[train]'`, or give an exported generator.onnx"
        ) from error
    from handlers.drawing import labels_of
    from handlers.latents import draw_latents
    from handlers.request import request_from_fields
    from handlers.response import encode_png, one_picture
    from handlers.session import to_uint8

    checkpoint = open_checkpoint(run)
    metadata = generator_metadata(checkpoint, version=str(checkpoint.step))
    request = request_from_fields(fields, metadata)
    z = draw_latents(
        request.seed, range(request.n), metadata.latent_dim, request.truncation, metadata.latent_distribution
    )
    labels = labels_of(request, metadata)
    inputs = [torch.from_numpy(given) for given in (z, labels) if given is not None]
    with torch.no_grad():
        images = to_uint8(checkpoint.load_generator_ema()(*inputs).numpy())
    return encode_png(one_picture(images))


def _preview(png: bytes) -> None:
    if not sys.stderr.isatty():
        return
    import numpy as np
    from PIL import Image

    from sngan_cli.preview import show

    with Image.open(io.BytesIO(png)) as image:
        pixels = np.asarray(image)
    show(pixels if pixels.ndim == 3 else pixels[:, :, None])
