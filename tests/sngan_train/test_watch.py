from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from sngan_train.config import LOSSES
from sngan_train.errors import DivergenceError
from sngan_train.watch import (
    FLOOR_RECORDS,
    LOSS_FLOORS,
    CollapseWatch,
    check_losses,
    check_weights,
    nonfinite_tensors,
)


def two_layers() -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_number_says_where_and_what_is_left(value: float, tmp_path: Path) -> None:
    network = two_layers()
    check_losses(5, {"generator_loss": 1.0}, {"generator": network}, None)
    with pytest.raises(DivergenceError, match=r"generator loss became .* at step 5; all weights .* no checkpoint"):
        check_losses(5, {"discriminator_loss": 1.0, "generator_loss": value}, {"generator": network}, None)
    with torch.no_grad():
        network[0].bias[1] = value
        network[1].weight[0] = value
    with pytest.raises(DivergenceError, match=r"finite: generator: 0\.bias \(and 1 more .*last good checkpoint is /"):
        check_losses(5, {"generator_loss": value}, {"discriminator": two_layers(), "generator": network}, tmp_path)


def test_bad_weights_are_found_while_the_loss_still_looks_well() -> None:
    network = two_layers()
    check_weights(7, {"discriminator": network}, None)
    network[1].running_var[1] = math.inf  # a buffer
    with pytest.raises(DivergenceError, match=r"the discriminator's weights .* step 7; .*1\.running_var;"):
        check_weights(7, {"discriminator": network}, None)


def test_a_gradient_tells_the_place_before_the_weight_does() -> None:
    network = two_layers()
    network[1].bias.grad = torch.tensor([0.0, math.nan])
    assert nonfinite_tensors(network) == ["gradient of 1.bias"]
    assert nonfinite_tensors(network, gradients=False) == []


def warnings_of(losses: list[float], loss: str = "hinge") -> list[int]:
    watch = CollapseWatch(loss)
    return [number for number, value in enumerate(losses) if watch.discriminator_loss(value)]


@pytest.mark.parametrize("loss", LOSS_FLOORS)
def test_a_loss_at_its_floor_warns_once_each_time_it_begins(loss: str) -> None:
    floor = [0.004] * (FLOOR_RECORDS + 20)
    assert warnings_of([1.2, *floor], loss) == [FLOOR_RECORDS]
    assert warnings_of([*floor, 0.5, *floor], loss) == [FLOOR_RECORDS - 1, len(floor) + FLOOR_RECORDS]


def test_healthy_losses_never_warn() -> None:
    noise = np.random.default_rng(0)
    healthy = 1.0 + 0.3 * noise.standard_normal(5000)  # a long hinge run; a batch in a thousand is below 0.1
    assert warnings_of(healthy.tolist()) == []
    assert warnings_of(([0.0] * (FLOOR_RECORDS - 1) + [0.02]) * 50) == []
    assert set(LOSSES) - set(LOSS_FLOORS) == {"wasserstein"}
    assert warnings_of([-(1.01**step) for step in range(1000)], "wasserstein") == []


def test_classes_whose_images_are_alike_are_named_once() -> None:
    watch = CollapseWatch("hinge")
    assert watch.latent_spread({"cat": 0.3, "dog": 0.15}) is None
    warning = watch.latent_spread({"cat": 0.3, "dog": 0.002})
    assert warning is not None
    assert "images of dog hardly" in warning
    assert watch.latent_spread({"cat": 0.3, "dog": 0.001}) is None
    both = watch.latent_spread({"cat": 0.001, "dog": 0.001})
    assert both is not None
    assert "images of cat hardly" in both
    assert watch.latent_spread({"cat": 0.3, "dog": 0.3}) is None
    assert watch.latent_spread({"cat": 0.3, "dog": 0.001}) is not None


def test_many_classes_make_a_short_line() -> None:
    warning = CollapseWatch("hinge").latent_spread({str(number): 0.0 for number in range(20)})
    assert warning is not None
    assert "0, 1, 2, 3, 4 and 15 more" in warning
