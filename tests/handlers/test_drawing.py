from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from handlers.drawing import draw, labels_of
from handlers.latents import draw_latents
from handlers.metadata import GeneratorMetadata
from handlers.request import ImageRequest
from handlers.session import GeneratorSession, to_uint8


def request(**changes: object) -> ImageRequest:
    return dataclasses.replace(ImageRequest(n=4, seed=9, classes=None, truncation=None), **changes)


def test_draw_puts_latents_and_labels_together(tiny_session: GeneratorSession) -> None:
    asked = request(classes=(2, 0, 1, 1), truncation=0.5)
    z = draw_latents(9, range(4), 8, truncation=0.5)
    expected = to_uint8(tiny_session.generate(z, np.array([2, 0, 1, 1])))
    images = draw(tiny_session, asked)
    assert images.shape == (4, 6, 4, 3)
    np.testing.assert_array_equal(images, expected)


@pytest.mark.parametrize("classes", [None, (1, 1, 1, 1)])
def test_an_image_does_not_depend_on_n(tiny_session: GeneratorSession, classes: tuple[int, ...] | None) -> None:
    four = draw(tiny_session, request(classes=classes))
    one = draw(tiny_session, request(n=1, classes=classes and classes[:1]))
    np.testing.assert_array_equal(four[:1], one)
    assert len({image.tobytes() for image in four}) == 4


def test_class_seed_and_truncation_each_change_the_image(tiny_session: GeneratorSession) -> None:
    base = draw(tiny_session, request(classes=(0,) * 4))
    for changed in (request(classes=(1,) * 4), request(classes=(0,) * 4, seed=10), request(truncation=1.0)):
        assert (draw(tiny_session, changed) != base).any()


def test_labels_of_the_seed_are_the_classes_drawn(tiny_metadata: GeneratorMetadata) -> None:
    labels = labels_of(request(n=64), tiny_metadata)
    assert labels is not None
    assert set(labels.tolist()) == {0, 1, 2}
    again = labels_of(request(n=1), tiny_metadata)
    assert again is not None
    assert again[0] == labels[0]


def test_unconditional_and_uniform(
    tmp_path: Path,
    make_generator: Callable[[Path, GeneratorMetadata], Path],
    tiny_metadata: GeneratorMetadata,
) -> None:
    metadata = dataclasses.replace(tiny_metadata, class_names=(), latent_distribution="uniform")
    session = GeneratorSession(make_generator(tmp_path / "g.onnx", metadata), provider="cpu")
    assert labels_of(request(), metadata) is None
    z = draw_latents(9, range(4), 8, distribution="uniform")
    np.testing.assert_array_equal(draw(session, request()), to_uint8(session.generate(z, None)))
    normal = GeneratorSession(
        make_generator(tmp_path / "n.onnx", dataclasses.replace(metadata, latent_distribution="normal")), provider="cpu"
    )
    assert (draw(normal, request()) != draw(session, request())).any()
