"""The Inception score against its definition and torch-fidelity."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from torch import Tensor

from sngan_train.errors import ConfigError
from sngan_train.metrics.inception_score import InceptionScore, inception_score

ROUNDING = 1e-12
SETS, IMAGES_PER_SET, CLASSES = 4, 15, 11


@pytest.fixture
def logits() -> Tensor:
    return torch.randn(SETS * IMAGES_PER_SET, CLASSES, generator=torch.Generator().manual_seed(0)) * 3.0


def definition(logits: Tensor, sets: int) -> tuple[float, float]:
    """Exp of the mean of KL(p(y|x) ‖ p(y)), with SciPy's relative entropy."""
    scores = []
    for part in np.split(logits.double().numpy(), sets):
        p = scipy.special.softmax(part, axis=1)
        scores.append(np.exp(np.mean([scipy.stats.entropy(row, p.mean(axis=0)) for row in p])))
    return float(np.mean(scores)), float(np.std(scores))


def test_against_the_definition(logits: Tensor) -> None:
    assert inception_score(logits, SETS) == pytest.approx(definition(logits, SETS), rel=ROUNDING)
    assert inception_score(logits, 1) == pytest.approx((definition(logits, 1)[0], 0.0), rel=ROUNDING)


def test_against_torch_fidelity(logits: Tensor) -> None:
    from torch_fidelity.metric_isc import isc_features_to_metric

    expected = isc_features_to_metric(logits, splits=SETS, shuffle=False)
    score = inception_score(logits, SETS)
    assert score.mean == pytest.approx(expected["inception_score_mean"], rel=ROUNDING)
    assert score.std == pytest.approx(expected["inception_score_std"], rel=ROUNDING)


@pytest.mark.parametrize("batch_size", [1, 7, 15, 60])
def test_batches_of_any_size_in_any_order(monkeypatch: pytest.MonkeyPatch, logits: Tensor, batch_size: int) -> None:
    monkeypatch.setattr("sngan_train.metrics.inception_score.ROWS_AT_A_TIME", 4)
    score = InceptionScore(sets=SETS, images_per_set=IMAGES_PER_SET)
    for start in reversed(range(0, len(logits), batch_size)):
        score.add(logits[start : start + batch_size], start)
    assert score.result() == pytest.approx(definition(logits, SETS), rel=ROUNDING)


def test_processes_merge(logits: Tensor) -> None:
    """Three processes take turns at batches, and one of them came too late for any."""
    scores = [InceptionScore(sets=SETS, images_per_set=IMAGES_PER_SET) for _ in range(3)]
    for turn, start in enumerate(range(0, len(logits), 8)):
        scores[1 + turn % 2].add(logits[start : start + 8], start)
    for other in scores[1:]:
        scores[0].merge(other)
    scores[0].merge(InceptionScore(sets=SETS, images_per_set=IMAGES_PER_SET))
    assert scores[0].result() == pytest.approx(definition(logits, SETS), rel=ROUNDING)


def test_the_ends_of_the_scale() -> None:
    """1 where all images look alike, K where each of K classes is had alike and surely."""
    assert inception_score(torch.randn(1, 6).repeat(12, 1), 2).mean == pytest.approx(1.0, rel=ROUNDING)
    sure = torch.eye(6).repeat(2, 1) * 1000.0  # e^−1000 is 0 in float64
    assert inception_score(sure, 2) == pytest.approx((6.0, 0.0), rel=ROUNDING)
    assert inception_score(sure[:, [0, 0, 0, 0, 0, 0]] * 0.0 + sure[0], 2).mean == pytest.approx(1.0, rel=ROUNDING)


def test_an_image_missing_or_twice_is_noticed(logits: Tensor) -> None:
    score = InceptionScore(sets=SETS, images_per_set=IMAGES_PER_SET)
    score.add(logits[1:], 1)
    with pytest.raises(ValueError, match="sets of 15 images have had \\[14, 15, 15, 15\\]"):
        score.result()
    score.add(logits[:2], 0)
    with pytest.raises(ValueError, match="have had \\[16"):
        score.result()


def test_what_is_refused(logits: Tensor) -> None:
    with pytest.raises(ConfigError, match="60 images do not make 7 equal sets"):
        inception_score(logits, 7)
    with pytest.raises(ConfigError, match="not 0 of 5"):
        InceptionScore(sets=0, images_per_set=5)
    score = InceptionScore(sets=SETS, images_per_set=IMAGES_PER_SET)
    with pytest.raises(ValueError, match="there are 60 images: none from 1 to 60"):
        score.add(logits, 1)
    with pytest.raises(ValueError, match="not finite"):
        score.add(logits * torch.inf, 0)
    score.add(logits[:3], 0)
    with pytest.raises(ValueError, match=r"logits are \(n, 11\)"):
        score.add(logits[:, :5], 0)
    narrow = InceptionScore(sets=SETS, images_per_set=IMAGES_PER_SET)
    narrow.add(logits[:3, :5], 0)
    for other in (narrow, InceptionScore(sets=SETS, images_per_set=9)):
        with pytest.raises(ValueError, match="do not merge"):
            score.merge(other)
