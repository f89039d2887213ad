from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from export.errors import VerificationError
from export.fold import fold_spectral_norm, require_finite, sigma_report
from sngan_train.checkpoint import open_checkpoint
from sngan_train.models import Generator
from sngan_train.models.layers import Convolution, Embedding, Linear, TransposedConvolution
from sngan_train.models.spectral_norm import SigmaSource, SpectralNorm, set_exact_sigma, spectral_layers
from sngan_train.models.weight_rule import RuledLayer, WeightRule

FOLD_ATOL = 1e-5  # the bound that is promised; equal weights give equal sums, so 0 is expected
NUM_LAYERS = {"tiny_run": 1 + 2 * 3 + 1, "tiny_cnn_run": 1 + 3 + 1}

Pair = tuple[Generator, Generator]


@pytest.fixture(params=list(NUM_LAYERS))
def run(request: pytest.FixtureRequest) -> Path:
    path: Path = request.getfixturevalue(request.param)
    return path


@pytest.fixture
def pair(run: Path) -> Pair:
    checkpoint = open_checkpoint(run)
    unfolded = checkpoint.load_generator_ema()
    return unfolded, fold_spectral_norm(unfolded, checkpoint.config, 3)


def test_folded_is_the_same_function(pair: Pair) -> None:
    unfolded, folded = pair
    torch.manual_seed(0)
    inputs = (torch.randn(16, 8), torch.arange(16) % 3)[: 1 + unfolded.conditional]
    expected, images = unfolded(*inputs), folded(*inputs)
    assert (images - expected).abs().max() <= FOLD_ATOL
    assert images.std() > 0.01


def test_nothing_of_spectral_norm_is_left(pair: Pair, request: pytest.FixtureRequest) -> None:
    unfolded, folded = pair
    assert len(list(spectral_layers(unfolded))) == NUM_LAYERS[request.node.callspec.params["run"]]
    assert not list(spectral_layers(folded))
    assert not [name for name in folded.state_dict() if name.rpartition(".")[2] in ("u", "v", "sigma")]


def largest_singular_value(layer: nn.Module) -> float:
    """By NumPy, of the weight as (outputs, everything else); a transposed convolution has its inputs first."""
    assert isinstance(layer.weight, torch.Tensor)
    weight = layer.weight.detach().numpy()
    if isinstance(layer, nn.ConvTranspose2d):
        weight = weight.transpose(1, 0, 2, 3)
    return float(np.linalg.norm(weight.reshape(len(weight), -1), 2))


def test_each_folded_weight_has_the_lipschitz_constant_by_svd(pair: Pair) -> None:
    unfolded, folded = pair
    for name, layer in spectral_layers(unfolded):
        assert largest_singular_value(folded.get_submodule(name)) == pytest.approx(1.5, rel=1e-3)
        assert largest_singular_value(layer) != pytest.approx(1.5, rel=1e-3)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_weight_that_is_no_number_is_named(pair: Pair, value: float) -> None:
    unfolded, _ = pair
    require_finite(unfolded)
    with torch.no_grad():
        unfolded.get_parameter("conv.bias")[0] = value
    with pytest.raises(VerificationError, match=r"conv\.bias"):
        require_finite(unfolded)


def test_a_sigma_that_does_not_belong_to_its_weight_is_found(pair: Pair) -> None:
    unfolded, folded = pair
    report = sigma_report(unfolded, folded, 1.5)
    assert [entry["layer"] for entry in report] == [name for name, _ in spectral_layers(unfolded)]
    last = report[-2]["layer"]
    with torch.no_grad():
        folded.get_submodule(last).weight.mul_(1.01)
    with pytest.raises(VerificationError, match=f"layer {last}"):
        sigma_report(unfolded, folded, 1.5)


@pytest.mark.parametrize(
    ("layer", "inputs"),
    [
        (lambda rule: Linear(6, 4, rule), torch.randn(5, 6)),
        (lambda rule: Convolution(3, 4, 3, rule), torch.randn(2, 3, 8, 8)),
        (lambda rule: TransposedConvolution(3, 4, rule), torch.randn(2, 3, 8, 8)),
        (lambda rule: Embedding(7, 4, rule), torch.tensor([6, 0, 3])),
    ],
    ids=["Linear", "Convolution", "TransposedConvolution", "Embedding"],
)
def test_every_kind_of_layer_folds_to_what_numpy_says(
    layer: Callable[[WeightRule], RuledLayer], inputs: torch.Tensor
) -> None:
    """Weight times 1.5 over NumPy's largest singular value, and the same outputs from a layer without any rule."""
    normalized = layer(SpectralNorm(source=SigmaSource.FIXED, lipschitz=1.5))
    set_exact_sigma(normalized)
    weight = normalized.weight.detach().clone()
    folded = layer(WeightRule())
    with torch.no_grad():
        folded.load_state_dict(
            {name: value for name, value in normalized.state_dict().items() if name != "sigma"}
            | {"weight": normalized.normalized_weight()}
        )
        expected = weight * (1.5 / largest_singular_value(normalized))
        assert (folded.weight - expected).abs().max() <= FOLD_ATOL
        assert (folded(inputs) - normalized(inputs)).abs().max() <= FOLD_ATOL
    assert largest_singular_value(folded) == pytest.approx(1.5, rel=1e-3)
