"""`sngan demo`: the whole road on data that ships with a dependency, measured at its end."""

from __future__ import annotations

import base64
import io
import json
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sngan_cli.errors import CommandError, QualityError, UsageError
from sngan_cli.files import write_whole

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

app = typer.Typer()

PRESET = "digits"
MARKER = ".made-by-sngan-demo"
IMAGES_PER_CLASS = 50  # 500 in all
SHEET_COLUMNS = 10
SHEET_SCALE = 3  # a digit of 16 pixels is hard to see
# What the finished server must reach.
MIN_AGREEMENT = 0.95  # share of images that a classifier of real digits takes for the class asked for
MIN_VARIETY = 0.6  # mean standard deviation of a pixel within a class, over that of the real digits


@app.command()
def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to work in.")] = Path("demo"),
) -> None:
    """Train on real digits, export, serve, ask for every class over HTTP, and measure the answers.

    Writes digits.png, a contact sheet with a row a class, and prints its name. A few minutes on two cores.
    Everything is stopped at the end. Exit code 3 means that the images fell below the demo's own bounds.
    """
    started = time.monotonic()
    run, exported, sheet = output / "run", output / "export", output / f"{PRESET}.png"
    _make_empty(output)

    from export.pipeline import export_run
    from serve.config import ServeConfig
    from serve.launcher import running_server
    from sngan_train.cli import run_training
    from sngan_train.presets import find_preset

    config = find_preset(PRESET)
    with _stage("1/5 train", f"{config.training.total_steps} steps on {PRESET}, a folder of checkpoints in {run}"):
        run_training(config, run, "auto")
    with _stage("2/5 export", f"one verified ONNX file and a TorchServe archive in {exported}"):
        files = export_run(run, exported, say=_say)
    with ExitStack() as stack:
        with _stage("3/5 serve", f"TorchServe on ONNX Runtime with {files.archive.name}"):
            server = stack.enter_context(running_server(files.archive, ServeConfig.on_free_ports()))
            _say(f"  ready at {server.predictions_url}")
        with _stage("4/5 ask", f"one POST a class, {IMAGES_PER_CLASS} images each"):
            images = _ask_for_every_class(server.base_url, list(server.metadata.class_names))
            _write_sheet(images, sheet)
    _say("  the server is stopped")
    with _stage("5/5 measure", "a classifier of the real digits looks at the answers"):
        agreement, variety = measure(images)
    _say(
        f"  {agreement:.1%} of {images.shape[0] * images.shape[1]} images are taken for the class asked for "
        f"(at least {MIN_AGREEMENT:.0%})\n"
        f"  {variety:.2f} of the real digits' variety (at least {MIN_VARIETY})"
    )
    if agreement < MIN_AGREEMENT or variety < MIN_VARIETY:
        raise QualityError(
            f"the demo's images fell below its bounds; look at {sheet}, and at the losses in {run}/stats.jsonl"
        )
    _say(
        f"done in {time.monotonic() - started:.0f} s; look at {sheet}. Next:\n"
        f"  sngan sample {files.generator} --class 7 -n 16 -o sevens.png\n"
        f"  sngan serve {files.archive}\n"
        f"  sngan train --preset custom-64 --data folder:PATH_TO_YOUR_IMAGES"
    )
    print(sheet)


def measure(images: NDArray[np.uint8]) -> tuple[float, float]:
    """Agreement and variety of generated digits against scikit-learn's real ones.

    Args:
        images: uint8 (10, n, S, S), a row of digits asked for as 0 … 9.

    Returns:
        The share that a support vector classifier fitted on the real digits, enlarged alike, takes for the
        digit asked for; and the mean over digits and pixels of the standard deviation within a digit, over
        that of the real ones.
    """
    import numpy as np
    from sklearn.svm import SVC

    from sngan_train.sources import digits_images

    real, labels = digits_images(images.shape[-1])
    classifier = SVC(C=10.0).fit(real.reshape(len(real), -1) / 255.0, labels)
    asked = np.repeat(np.arange(len(images)), images.shape[1])
    seen = classifier.predict(images.reshape(len(asked), -1) / 255.0)
    generated_spread = np.mean([row.std(axis=0).mean() for row in images.astype(np.float64)])
    real_spread = np.mean([real[labels == digit].astype(np.float64).std(axis=0).mean() for digit in range(10)])
    return float(np.mean(seen == asked)), float(generated_spread / real_spread)


def _make_empty(output: Path) -> None:
    """An empty folder for the demo, which always does the whole road; only a folder that a demo made is emptied."""
    marker = output / MARKER
    try:
        if output.exists() and not marker.is_file() and (not output.is_dir() or any(output.iterdir())):
            raise UsageError(f"{output} exists and was not made by the demo; give another folder with -o")
        shutil.rmtree(output, ignore_errors=True)
        output.mkdir(parents=True)
        marker.touch()
    except OSError as error:
        raise CommandError(f"{output}: cannot be written to ({error.strerror})") from error


def _ask_for_every_class(base_url: str, class_names: list[str]) -> NDArray[np.uint8]:
    """uint8 (classes, n, S, S), each row the answer to one request."""
    import numpy as np
    from PIL import Image

    from serve.client import SnganClient

    client = SnganClient(base_url)
    rows = []
    for seed, name in enumerate(class_names):
        answer = client.request({"class": name, "n": IMAGES_PER_CLASS, "seed": seed, "format": "json"})
        pictures = [base64.b64decode(entry["base64"]) for entry in json.loads(answer.body)["images"]]
        rows.append([np.asarray(Image.open(io.BytesIO(picture))) for picture in pictures])
        _say(f"  class {name}: {len(pictures)} images")
    return np.array(rows)


def _write_sheet(images: NDArray[np.uint8], path: Path) -> None:
    """The first ten images of every class, a row a class, enlarged."""
    from handlers.response import encode_png, grid

    shown = images[:, :SHEET_COLUMNS].reshape(-1, *images.shape[2:], 1)
    picture = grid(shown, columns=SHEET_COLUMNS)
    write_whole(encode_png(picture.repeat(SHEET_SCALE, axis=0).repeat(SHEET_SCALE, axis=1)), path)


@contextmanager
def _stage(name: str, what: str) -> Iterator[None]:
    _say(f"{name}: {what}")
    started = time.monotonic()
    yield
    _say(f"{name}: done in {time.monotonic() - started:.1f} s")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
