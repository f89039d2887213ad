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
    by_seven = list(serving_draws(metadata(3, truncation=0.7), seed=9, images=range(20), batch=7))
    assert [len(draw.z) for draw in by_seven] == [7, 7, 6]
    z = np.concatenate([draw.z for draw in by_seven])
    assert (z == draw_latents(9, range(20), 5, 0.7)).all()
    assert np.abs(z).max() <= 0.7
    (at_once,) = serving_draws(metadata(3, truncation=0.7), seed=9, images=range(20), batch=64)
    assert (at_once.z == z).all()


def test_uniform_latents_are_uniform() -> None:
    (draw,) = serving_draws(metadata(0, "uniform"), seed=1, images=range(64), batch=64)
    assert 0.95 < np.abs(draw.z).max() <= 1.0
    assert list(draw.feed) == ["z"]


@pytest.mark.parametrize(("num_classes", "first", "count"), [(1, 0, 10), (3, 5, 10), (10, 0, 1000), (12, 7, 100)])
def test_classes_come_equally_often_wherever_one_starts(num_classes: int, first: int, count: int) -> None:
    draws = serving_draws(metadata(num_classes), seed=1, images=range(first, first + count), batch=16)
    labels = np.concatenate([draw.feed["label"] for draw in draws])
    assert labels.dtype == np.int64
    often = np.bincount(labels, minlength=num_classes)
    assert often.sum() == count
    assert often.max() - often.min() <= 1


@pytest.mark.parametrize(("num_classes", "count"), [(1000, 64), (1024, 48), (97, 20), (8, 5)])
def test_fewer_images_than_classes_are_spread_over_all(num_classes: int, count: int) -> None:
    (draw,) = serving_draws(metadata(num_classes), seed=1, images=range(count), batch=count)
    assert draw.labels is not None
    labels = np.unique(draw.labels)
    assert len(labels) == count
    assert 0 <= labels[0] <= labels[-1] < num_classes
    gaps = np.diff([*labels, labels[0] + num_classes])
    assert gaps.max() <= 4 * num_classes / count
