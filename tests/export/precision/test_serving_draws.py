from __future__ import annotations

import numpy as np
import pytest

from export.precision.serving_draws import serving_draws
from handlers.latents import draw_latents
from handlers.metadata import GeneratorMetadata


def metadata(num_classes: int, distribution: str = "normal", truncation: float | None = None) -> GeneratorMetadata:
    return GeneratorMetadata(
        name="x",
        version="1",
        latent_dim=5,
        latent_distribution=distribution,
        class_names=tuple(str(label) for label in range(num_classes)),
        channels=1,
        height=8,
        width=8,
        color_mode="L",
        default_truncation=truncation,
    )


def test_latents_are_the_servers_whatever_the_batch() -> None:
    by_seven = list(serving_draws(metadata(3, truncation=0.7), seed=9, count=20, batch=7))
    assert [len(draw.z) for draw in by_seven] == [7, 7, 6]
    z = np.concatenate([draw.z for draw in by_seven])
    assert (z == draw_latents(9, range(20), 5, 0.7)).all()
    assert np.abs(z).max() <= 0.7
    (at_once,) = serving_draws(metadata(3, truncation=0.7), seed=9, count=20, batch=64)
    assert (at_once.z == z).all()


def test_uniform_latents_are_uniform() -> None:
    (draw,) = serving_draws(metadata(0, "uniform"), seed=1, count=64, batch=64)
    assert 0.95 < np.abs(draw.z).max() <= 1.0
    assert list(draw.feed) == ["z"]


@pytest.mark.parametrize(("num_classes", "count"), [(1, 10), (3, 10), (10, 1000), (7, 6), (1000, 64)])
def test_classes_come_equally_often(num_classes: int, count: int) -> None:
    draws = serving_draws(metadata(num_classes), seed=1, count=count, batch=16)
    labels = np.concatenate([draw.feed["label"] for draw in draws])
    assert labels.dtype == np.int64
    often = np.bincount(labels, minlength=num_classes)
    assert often.sum() == count
    assert often.max() - often.min() <= 1
    assert {0, num_classes - 1} <= set(labels.tolist()) or num_classes > count == 1
