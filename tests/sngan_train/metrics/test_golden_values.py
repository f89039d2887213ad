"""All formulas against a golden file that other arithmetic made, and says how its inputs are made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sngan_train.metrics.frechet import frechet_distance
from sngan_train.metrics.inception_score import inception_score
from sngan_train.metrics.kernel_distance import kernel_distance_of_all
from sngan_train.metrics.moments import Moments, RunningMoments
from sngan_train.metrics.ms_ssim import ms_ssim
from sngan_train.metrics.neighbours import neighbour_metrics

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parents[2] / "golden" / "metrics_v1.json").read_text())
FLOAT64 = 1e-12
FLOAT32 = 1e-4  # MS-SSIM: σ² is the difference of float32 squares of up to 255²


def table(name: str) -> Tensor:
    """Exact in float32."""
    i, j = torch.arange(GOLDEN[name]["rows"])[:, None], torch.arange(GOLDEN[name]["columns"])
    return ((389 * i * i + 173 * i * j + 71 * j * j + 29 * j + GOLDEN[name]["offset"]) % 1021).float() / 256.0


def image(n: int, offset: int) -> Tensor:
    y, x = torch.arange(GOLDEN["ms_ssim"]["size"])[:, None], torch.arange(GOLDEN["ms_ssim"]["size"])
    return ((97 * n + 41 * (y // 3) * (x // 4) + 3 * x * x + (7 + n) * y + offset) % 256).to(torch.uint8)


def moments_of(features: Tensor) -> Moments:
    running = RunningMoments(features.shape[1])
    running.add(features)
    return running.moments()


def test_frechet_distance() -> None:
    distance = frechet_distance(moments_of(table("real")), moments_of(table("generated")))
    assert distance == pytest.approx(GOLDEN["frechet_distance"], rel=FLOAT64)


def test_kernel_distance() -> None:
    distance = kernel_distance_of_all(table("real"), table("generated"))
    assert distance == pytest.approx(GOLDEN["kernel_distance"], rel=FLOAT64)


def test_inception_score() -> None:
    expected = GOLDEN["inception_score"]
    score = inception_score(table("generated"), expected["sets"])
    assert score == pytest.approx((expected["mean"], expected["std"]), rel=FLOAT64)


def test_neighbours() -> None:
    metrics = neighbour_metrics(table("real"), table("generated"))
    for name in ("precision", "recall", "density", "coverage"):
        assert getattr(metrics, name) == pytest.approx(GOLDEN["neighbours"][name], rel=FLOAT64)


def test_ms_ssim() -> None:
    images = torch.stack([image(**described) for described in GOLDEN["ms_ssim"]["images"]])[:, None]
    similarities = ms_ssim(images[[0, 0, 1]], images[[1, 2, 2]])
    assert similarities.tolist() == pytest.approx(GOLDEN["ms_ssim"]["pairs"], abs=FLOAT32)
