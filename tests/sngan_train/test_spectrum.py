"""Spectra against LAPACK's SVD, which the code does not use."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from sngan_train.config import RunConfig
from sngan_train.models import build_discriminator, build_generator, weight_layers
from sngan_train.models.spectral_norm import SigmaSource, power_iteration
from sngan_train.spectrum import LayerSpectrum, network_spectrum, singular_values

# Of the largest singular value. The Gram matrix halves the digits of the small ones; a float32 weight has 6e-8.
SINGULAR_VALUE_TOLERANCE = 1e-7
FLOAT32_TOLERANCE = 1e-5  # σ is a float32 sum of up to some thousand terms


@pytest.mark.parametrize(("rows", "columns"), [(16, 90), (90, 16), (24, 24), (1, 50), (50, 1)])
def test_singular_values_are_those_of_an_svd(rows: int, columns: int) -> None:
    matrix = torch.randn(rows, columns, generator=torch.Generator().manual_seed(rows))
    expected = torch.linalg.svdvals(matrix.double()).numpy()
    assert np.abs(singular_values(matrix) - expected).max() <= 1e-12 * expected[0]


def test_a_matrix_without_full_rank_has_small_values_within_the_tolerance() -> None:
    matrix = torch.randn(64, 300, generator=torch.Generator().manual_seed(1))
    matrix[32:] = matrix[:32]
    expected = torch.linalg.svdvals(matrix.double()).numpy()
    assert expected[40] < 1e-12 * expected[0]
    assert np.abs(singular_values(matrix) - expected).max() <= SINGULAR_VALUE_TOLERANCE * expected[0]


@torch.no_grad()
def test_every_layer_is_told_as_it_computes(tiny_config: RunConfig) -> None:
    torch.manual_seed(0)
    discriminator = build_discriminator(tiny_config, 3)
    power_iteration(discriminator, 3)
    spectra = network_spectrum(discriminator)
    layers = dict(weight_layers(discriminator))
    assert spectra.keys() == layers.keys()
    lags = []
    for name, layer in layers.items():
        spectrum = spectra[name]
        used = torch.linalg.svdvals(layer.weight_matrix(layer.normalized_weight()).double()).numpy()
        exact = float(torch.linalg.svdvals(layer.weight_matrix(layer.weight).double())[0])
        assert np.abs(spectrum.singular_values - used).max() <= SINGULAR_VALUE_TOLERANCE * used[0]
        assert spectrum.sigma == pytest.approx(float(layer.estimated_sigma()), rel=FLOAT32_TOLERANCE)
        assert spectrum.exact_sigma == pytest.approx(exact, rel=FLOAT32_TOLERANCE)
        assert spectrum.reshaped_norm == pytest.approx(used[0], rel=1e-12)
        assert spectrum.lag == pytest.approx(abs(spectrum.sigma / exact - 1.0), abs=FLOAT32_TOLERANCE)
        assert spectrum.frobenius_norm == pytest.approx(float(layer.normalized_weight().norm()), rel=FLOAT32_TOLERANCE)
        lags.append(spectrum.lag)
    assert max(lags) > 1e-3  # three iterations from a random start are behind somewhere


@torch.no_grad()
def test_plain_weights_have_a_sigma_and_no_lag(tiny_config: RunConfig) -> None:
    torch.manual_seed(0)
    generator = build_generator(tiny_config, 3, source=SigmaSource.NONE)
    spectra = network_spectrum(generator)
    for name, layer in weight_layers(generator):
        exact = float(torch.linalg.svdvals(layer.weight_matrix(layer.weight).double())[0])
        assert spectra[name].sigma == pytest.approx(exact, rel=1e-12)
        assert spectra[name].exact_sigma is None
        assert spectra[name].lag is None


def spectrum_of(*values: float) -> LayerSpectrum:
    return LayerSpectrum(sigma=values[0], exact_sigma=None, singular_values=np.array(values))


def test_a_zero_weight_has_no_lag() -> None:
    assert LayerSpectrum(sigma=0.0, exact_sigma=0.0, singular_values=np.zeros(2)).lag == 0.0


def test_the_effective_rank_counts_directions() -> None:
    assert spectrum_of(2.0, 2.0, 2.0, 2.0).effective_rank == pytest.approx(4.0)
    assert spectrum_of(3.0, 0.0, 0.0).effective_rank == pytest.approx(1.0)
    # p = (3/4, 1/4): H = 2 ln 2 - (3/4) ln 3
    assert spectrum_of(3.0, 1.0).effective_rank == pytest.approx(4.0 / 3.0**0.75)
    assert spectrum_of(0.0, 0.0).effective_rank == 0.0


def test_a_record_is_plain_and_relative_squares_end_at_one() -> None:
    spectrum = spectrum_of(2.0, 1.0)
    assert spectrum.relative_squares.tolist() == [1.0, 0.25]
    assert spectrum_of(0.0, 0.0).relative_squares.tolist() == [0.0, 0.0]
    record = spectrum.to_dict()
    assert record["singular_values"] == [2.0, 1.0]
    assert record["frobenius_norm"] == pytest.approx(math.sqrt(5.0))
