"""A file and a server understand the same words in the same way."""

from __future__ import annotations

import contextlib
import dataclasses
import http.server
import io
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner

from handlers.answering import Call, answer_all
from handlers.drawing import draw
from handlers.encodings import encode_png
from handlers.errors import HandlersError, PictureError
from handlers.layouts import enlarged, grid, one_picture
from handlers.metadata import GeneratorMetadata
from handlers.provenance import of_image
from handlers.request import ImageRequest
from handlers.session import GeneratorSession
from serve.errors import ServeError
from sngan_cli.errors import UsageError
from sngan_cli.sample import FORMATS, app

MANY = tuple(f"species {index}" for index in range(3000))
MakeGenerator = Callable[[Path, GeneratorMetadata], Path]


@contextlib.contextmanager
def serving(generator: Path) -> Iterator[str]:
    """The address of a server that answers as the handler does, without TorchServe around it."""
    session = GeneratorSession(generator, provider="cpu", threads=1)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            [answer] = answer_all([Call(data={"body": body}, headers=headers)], session, 10**9)
            self.send_response(answer.status)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def pixels(content: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image)


def sample(source: object, *words: str, output: Path) -> bytes:
    CliRunner().invoke(app, [str(source), *words, "-o", str(output)], catch_exceptions=False)
    return output.read_bytes()


@pytest.mark.parametrize(
    ("names", "words", "classes"),
    [
        (("cat", "Dog", "frog"), ("--class", "dog"), (1,)),
        (("cat", "Dog", "frog"), ("--class", "2"), (2,)),
        (("cat", "Dog", "frog"), ("--class", "2", "--class", "CAT"), (2, 0)),
        (("10", "3", "cat", "0"), ("--class", "3"), (1,)),
        (("10", "3", "cat", "0"), ("--class", "10", "--class", "0", "--class", "Cat"), (0, 3, 2)),
        (MANY, ("--class", "2999", "--class", "Species 7", "--class", "0"), (2999, 7, 0)),
        (("cat", "Dog", "frog"), ("-n", "3"), None),
        ((), ("-n", "5"), None),
    ],
)
@pytest.mark.parametrize("distribution", ["normal", "uniform"])
def test_a_file_and_a_server_draw_the_classes_that_were_meant(
    tmp_path: Path,
    make_generator: MakeGenerator,
    tiny_metadata: GeneratorMetadata,
    names: tuple[str, ...],
    words: tuple[str, ...],
    classes: tuple[int, ...] | None,
    distribution: str,
) -> None:
    metadata = dataclasses.replace(tiny_metadata, class_names=names, latent_distribution=distribution)
    generator = make_generator(tmp_path / "g.onnx", metadata)
    n = len(classes) if classes else int(words[-1])
    asked = ImageRequest(n=n, seed=4, classes=classes, truncation=None)
    expected = one_picture(draw(GeneratorSession(generator, provider="cpu"), asked))
    with serving(generator) as url:
        files = [sample(source, *words, "--seed", "4", output=tmp_path / "x.png") for source in (generator, url)]
    assert files[0] == files[1]
    np.testing.assert_array_equal(pixels(files[0]), expected)


@pytest.mark.parametrize(
    ("facts", "words", "message"),
    [
        ({"class_names": ()}, ("--class", "cat"), "this model has no classes; allowed: null, or leave it out"),
        ({"class_names": ()}, ("--class", "0"), "this model has no classes"),
        ({}, ("--class", "3"), "3 is out of range"),
        ({}, ("--class", "frok"), 'did you mean "frog"'),
        ({"class_names": ("1", "2")}, ("--class", "0"), '"0" is no class of this model'),
        ({"latent_distribution": "uniform"}, ("--truncation", "1"), "latents are uniform"),
    ],
)
def test_a_file_and_a_server_refuse_the_same(
    tmp_path: Path,
    make_generator: MakeGenerator,
    tiny_metadata: GeneratorMetadata,
    facts: dict[str, object],
    words: tuple[str, ...],
    message: str,
) -> None:
    generator = make_generator(tmp_path / "g.onnx", dataclasses.replace(tiny_metadata, **facts))
    with serving(generator) as url:
        for source in (generator, url):
            with pytest.raises((HandlersError, ServeError), match=message) as caught:
                sample(source, *words, output=tmp_path / "x.png")
            assert caught.value.exit_code == 2
    assert not (tmp_path / "x.png").exists()


def test_several_images_are_one_grid(
    tmp_path: Path, make_generator: MakeGenerator, tiny_metadata: GeneratorMetadata
) -> None:
    generator = make_generator(tmp_path / "g.onnx", dataclasses.replace(tiny_metadata, class_names=()))
    sample(generator, "-n", "5", output=tmp_path / "x.png")
    assert np.asarray(Image.open(tmp_path / "x.png")).shape == (2 * 8 + 2, 3 * 6 + 2, 3)


@pytest.mark.parametrize("ending", FORMATS)
def test_the_ending_is_the_format(ending: str, tmp_path: Path, tiny_generator_onnx: Path) -> None:
    content = sample(tiny_generator_onnx, "-n", "2", output=tmp_path / f"x{ending}")
    images = draw(GeneratorSession(tiny_generator_onnx), ImageRequest(n=2, seed=0, classes=None, truncation=None))
    if ending == ".npy":
        np.testing.assert_array_equal(np.load(io.BytesIO(content)), images)
    elif ending == ".zip":
        with zipfile.ZipFile(io.BytesIO(content)) as zipped:
            np.testing.assert_array_equal(pixels(zipped.read(zipped.namelist()[1])), images[1])
    else:
        assert pixels(content).shape == grid(images).shape
        assert Image.open(io.BytesIO(content)).format == {".jpg": "JPEG"}.get(ending, ending[1:].upper())


def test_an_unknown_ending_is_a_wrong_usage(tmp_path: Path, tiny_generator_onnx: Path) -> None:
    with pytest.raises(UsageError, match=r"x.gif: the ending says the format, and must be one of \.png"):
        sample(tiny_generator_onnx, output=tmp_path / "x.gif")


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--class", "frog", "--seed", "9", "--truncation", "0.5", "--scale", "3"),
        ("-n", "5", "--seed", "3"),
        ("--class", "1", "--class", "0"),
    ],
)
def test_a_picture_is_made_again_from_the_file_alone(
    words: tuple[str, ...], tmp_path: Path, make_generator: MakeGenerator, tiny_metadata: GeneratorMetadata
) -> None:
    hashes = {"generator_seal": "ab" * 32, "generator_ema_sha256": "cd" * 32}
    facts = dataclasses.replace(tiny_metadata, default_truncation=0.7, provenance=hashes)
    generator = make_generator(tmp_path / "g.onnx", facts)
    first = sample(generator, *words, output=tmp_path / "first.png")
    with serving(generator) as url:
        for source in (generator, url):
            result = CliRunner().invoke(
                app, [str(source), "--from", str(tmp_path / "first.png"), "-o", str(tmp_path / "again.png")]
            )
            assert (result.exit_code, result.stderr) == (0, "")
            assert (tmp_path / "again.png").read_bytes() == first


def test_one_image_of_many_is_made_again(tmp_path: Path, tiny_generator_onnx: Path) -> None:
    """As a JSON or zip answer holds it; and through WebP, which keeps every pixel too."""
    content = sample(tiny_generator_onnx, "-n", "4", "--seed", "6", "--scale", "2", output=tmp_path / "x.zip")
    images = draw(GeneratorSession(tiny_generator_onnx), ImageRequest(n=4, seed=6, classes=None, truncation=None))
    with zipfile.ZipFile(io.BytesIO(content)) as zipped:
        third = zipped.read(zipped.namelist()[2])
    (tmp_path / "third.png").write_bytes(third)
    assert sample(tiny_generator_onnx, "--from", str(tmp_path / "third.png"), output=tmp_path / "a.png") == third
    sample(tiny_generator_onnx, "--from", str(tmp_path / "third.png"), output=tmp_path / "a.webp")
    again = sample(tiny_generator_onnx, "--from", str(tmp_path / "a.webp"), output=tmp_path / "b.png")
    np.testing.assert_array_equal(pixels(again), enlarged(images[2], 2))


def test_a_picture_of_given_latents_is_made_again(tmp_path: Path, tiny_generator_onnx: Path) -> None:
    session = GeneratorSession(tiny_generator_onnx)
    request = ImageRequest(n=1, seed=1, classes=(2,), truncation=None, z=((0.25,) * 8,), format="json")
    [image] = session.generate_levels(np.full((1, 8), 0.25, dtype=np.float32), np.array([2], dtype=np.int64))
    text = of_image(request, session.metadata, 0).to_json()
    (tmp_path / "z.png").write_bytes(encode_png(np.zeros_like(image), text))  # the pixels themselves do not matter
    again = sample(tiny_generator_onnx, "--from", str(tmp_path / "z.png"), output=tmp_path / "again.png")
    np.testing.assert_array_equal(pixels(again), image)


def test_another_model_is_told(tmp_path: Path, make_generator: MakeGenerator, tiny_metadata: GeneratorMetadata) -> None:
    for name, digest in (("first", "ab" * 32), ("second", "cd" * 32)):
        facts = dataclasses.replace(tiny_metadata, provenance={"generator_ema_sha256": digest})
        make_generator(tmp_path / f"{name}.onnx", facts)
    sample(tmp_path / "first.onnx", output=tmp_path / "x.png")
    words = [str(tmp_path / "second.onnx"), "--from", str(tmp_path / "x.png"), "-o", str(tmp_path / "y.png")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0
    assert result.stderr == "note: another model: the SHA-256 of its weights is cdcdcdcdcdcd… and not abababababab…\n"


@pytest.mark.parametrize(
    ("words", "output", "message"),
    [
        (("--seed", "1"), "y.png", "it does not go with --seed"),
        (("--class", "cat"), "y.png", "it does not go with --class"),
        ((), "y.npy", r"it does not go with -o .*y\.npy"),
    ],
)
def test_from_goes_with_nothing_that_it_says_itself(
    words: tuple[str, ...], output: str, message: str, tmp_path: Path, tiny_generator_onnx: Path
) -> None:
    sample(tiny_generator_onnx, output=tmp_path / "x.png")
    with pytest.raises(UsageError, match=message):
        sample(tiny_generator_onnx, "--from", str(tmp_path / "x.png"), *words, output=tmp_path / output)


def test_a_picture_of_another_origin_says_nothing(tmp_path: Path, tiny_generator_onnx: Path) -> None:
    Image.new("RGB", (4, 6)).save(tmp_path / "x.png")
    with pytest.raises(PictureError, match="does not say how it was made"):
        sample(tiny_generator_onnx, "--from", str(tmp_path / "x.png"), output=tmp_path / "y.png")
    assert not (tmp_path / "y.png").exists()


def test_a_model_that_cannot_draw_the_picture_is_told_apart(
    tmp_path: Path, make_generator: MakeGenerator, tiny_metadata: GeneratorMetadata, tiny_generator_onnx: Path
) -> None:
    sample(tiny_generator_onnx, "--class", "frog", output=tmp_path / "x.png")
    other = make_generator(tmp_path / "other.onnx", dataclasses.replace(tiny_metadata, class_names=("a", "b")))
    with serving(other) as url:
        for source in (other, url):
            with pytest.raises(UsageError, match=r"x.png was drawn by sngan 1.2, and this model .*2 is out of range"):
                sample(source, "--from", str(tmp_path / "x.png"), output=tmp_path / "y.png")
