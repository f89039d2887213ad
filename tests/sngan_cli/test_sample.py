"""A file and a server understand the same words in the same way."""

from __future__ import annotations

import contextlib
import dataclasses
import http.server
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from handlers.drawing import draw
from handlers.errors import HandlersError, RequestError
from handlers.metadata import GeneratorMetadata
from handlers.request import ImageRequest, parse_request
from handlers.response import encode_png, error_answer, image_answer, one_picture
from handlers.session import GeneratorSession
from serve.errors import ServeError
from sngan_cli.sample import app

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
            try:
                request = parse_request({"body": body}, headers, session.metadata)
                facts = {"provider": "cpu", "request_id": "r", "generate_ms": 0.0, "max_bytes": 10**9}
                answer = image_answer(draw(session, request), request, session.metadata, **facts)
            except RequestError as error:
                answer = error_answer(error, "r")
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
    expected = encode_png(one_picture(draw(GeneratorSession(generator, provider="cpu"), asked)))
    with serving(generator) as url:
        for source in (generator, url):
            assert sample(source, *words, "--seed", "4", output=tmp_path / "x.png") == expected


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
    from PIL import Image

    generator = make_generator(tmp_path / "g.onnx", dataclasses.replace(tiny_metadata, class_names=()))
    sample(generator, "-n", "5", output=tmp_path / "x.png")
    assert np.asarray(Image.open(tmp_path / "x.png")).shape == (2 * 8 + 2, 3 * 6 + 2, 3)
