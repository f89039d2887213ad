"""Norms of convolutions against dense matrices, closed forms and the bounds that they must keep."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from sngan_train.config import RunConfig
from sngan_train.models import build_discriminator, build_generator, weight_layers
from sngan_train.models.layers import Convolution, Embedding, Linear, Resampling, TransposedConvolution
from sngan_train.models.spectral_norm import SigmaSource, SpectralNorm, power_iteration
from sngan_train.models.weight_rule import PLAIN, RuledLayer
from sngan_train.operator_norm import TOLERANCE, input_shapes, layer_norm, operator_norms

# TOLERANCE bounds the error of the square, so half of it that of the norm.
NORM_TOLERANCE = TOLERANCE / 2.0

LAYERS: dict[str, Callable[[], RuledLayer]] = {
    "1x1": lambda: Convolution(3, 4, 1, PLAIN),
    "3x3": lambda: Convolution(3, 4, 3, PLAIN),
    "4x4 of stride 2": lambda: Convolution(3, 4, 4, PLAIN),
    "transposed": lambda: TransposedConvolution(3, 4, PLAIN),
    "3x3 after upsampling": lambda: Convolution(3, 4, 3, PLAIN, resampling=Resampling.UP),
    "3x3 before pooling": lambda: Convolution(3, 4, 3, PLAIN, resampling=Resampling.DOWN),
}


def dense(function: Callable[[Tensor], Tensor], input_shape: tuple[int, ...]) -> NDArray[np.float64]:
    """The matrix of a linear function, a column a basis vector."""
    size = math.prod(input_shape)
    images: NDArray[np.float64] = function(torch.eye(size).double().view(size, *input_shape)).flatten(1).numpy()
    return images.T


def made(name: str) -> RuledLayer:
    torch.manual_seed(3)
    return LAYERS[name]().double()


def reshaped_norm(layer: RuledLayer) -> float:
    return float(np.linalg.norm(layer.weight_matrix(layer.normalized_weight()).detach().numpy(), 2))


@pytest.mark.parametrize("name", LAYERS)
@torch.no_grad()
def test_the_norm_is_that_of_the_dense_matrix_of_the_layers_own_forward_pass(name: str) -> None:
    layer = made(name)
    expected = np.linalg.svd(dense(layer, (3, 6, 8)), compute_uv=False)[0]  # biases start at 0
    assert layer_norm(layer, (3, 6, 8)).layer_norm == pytest.approx(expected, rel=NORM_TOLERANCE)


@pytest.mark.parametrize(("name", "read"), [("3x3 after upsampling", (3, 12, 16)), ("3x3 before pooling", (3, 6, 8))])
@torch.no_grad()
def test_the_convolution_alone_is_measured_on_the_image_that_it_reads(name: str, read: tuple[int, ...]) -> None:
    layer = made(name)
    matrix = dense(lambda x: functional.conv2d(x, layer.weight, padding=1), read)
    norm = layer_norm(layer, (3, 6, 8))
    assert norm.convolution_norm == pytest.approx(np.linalg.svd(matrix, compute_uv=False)[0], rel=NORM_TOLERANCE)
    assert norm.convolution_norm != pytest.approx(norm.layer_norm, rel=0.1)


@torch.no_grad()
def test_the_bias_is_no_part_of_it_and_the_weight_is_the_one_computed_with() -> None:
    torch.manual_seed(0)
    layer = Convolution(3, 4, 3, SpectralNorm(lipschitz=1.5))
    plain = layer_norm(layer, (3, 6, 6)).layer_norm
    layer.bias.fill_(5.0)
    assert layer_norm(layer, (3, 6, 6)).layer_norm == plain
    used = layer.normalized_weight().double()
    matrix = dense(lambda x: functional.conv2d(x, used, padding=1), (3, 6, 6))
    assert plain == pytest.approx(np.linalg.svd(matrix, compute_uv=False)[0], rel=NORM_TOLERANCE)


@pytest.mark.parametrize("size", [5, 16, 32])
@torch.no_grad()
def test_a_box_kernel_has_a_norm_in_closed_form_that_nears_three_times_the_reshaped_one(size: int) -> None:
    layer = Convolution(1, 1, 3, PLAIN).double()
    layer.weight.fill_(1.0)
    # The 1-D map is the tridiagonal matrix of ones, whose largest eigenvalue is 1 + 2 cos(π / (n + 1)).
    expected = (1.0 + 2.0 * math.cos(math.pi / (size + 1))) ** 2
    norm = layer_norm(layer, (1, size, size)).convolution_norm
    assert norm == pytest.approx(expected, rel=NORM_TOLERANCE)
    assert reshaped_norm(layer) == pytest.approx(3.0)
    assert 2.4 < norm / 3.0 < 3.0


@torch.no_grad()
def test_zero_padding_stays_under_the_circular_convolution_of_a_larger_torus() -> None:
    """Sedghi et al. 2019: the singular values of a circular convolution are those of its kernel at each frequency."""
    torch.manual_seed(1)
    layer = Convolution(4, 5, 3, PLAIN).double()
    size = 16
    # With one row and column of zeros more, what lies across the edge is padding: the zero-padded map is a block of it.
    transform = np.fft.fft2(layer.weight.detach().numpy(), (size + 1, size + 1), axes=(2, 3))
    circular = np.linalg.norm(transform.transpose(2, 3, 0, 1), 2, axis=(2, 3)).max()
    norm = layer_norm(layer, (4, size, size)).convolution_norm
    assert 0.95 * circular < norm <= circular * (1.0 + NORM_TOLERANCE)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("seed", range(5))
@torch.no_grad()
def test_the_norm_is_bounded_by_the_reshaped_one_times_how_often_a_pixel_is_read(name: str, seed: int) -> None:
    layer = made(name)
    layer.weight.copy_(torch.randn(layer.weight.shape, generator=torch.Generator().manual_seed(seed)))
    reshaped = reshaped_norm(layer)
    norm = layer_norm(layer, (3, 8, 8)).convolution_norm
    if name == "transposed":
        assert norm <= 4.0 * reshaped  # a pixel is in the windows of 16 outputs
        return
    kernel, stride = layer.kernel_size[0], layer.stride[0]
    windows = functional.unfold(torch.ones(1, 1, 8, 8), kernel, padding=layer.padding, stride=stride)
    reads = float(functional.fold(windows, (8, 8), kernel, padding=layer.padding, stride=stride).max())
    assert reads == math.ceil(kernel / stride) ** 2
    assert reshaped * (1.0 - NORM_TOLERANCE) <= norm <= math.sqrt(reads) * reshaped * (1.0 + NORM_TOLERANCE)


@torch.no_grad()
def test_a_zero_kernel_has_norm_zero() -> None:
    layer = Convolution(2, 2, 3, PLAIN)
    layer.weight.zero_()
    assert layer_norm(layer, (2, 4, 4)).layer_norm == 0.0


def test_every_layer_reads_what_the_networks_say(tiny_config: RunConfig) -> None:
    discriminator = input_shapes(build_discriminator(tiny_config, 3), (1, 16, 16))
    assert discriminator["blocks.0.conv1"] == (1, 16, 16)
    assert discriminator["blocks.0.conv2"] == (8, 16, 16)
    assert discriminator["blocks.0.shortcut"] == (1, 8, 8)  # pools first
    assert discriminator["class_embedding"] == ()
    generator = input_shapes(build_generator(tiny_config, 3, source=SigmaSource.NONE), (1, 16, 16))
    assert generator["linear"] == (8,)
    assert generator["blocks.0.conv1"] == (8, 4, 4)
    assert generator["blocks.0.conv2"] == (8, 8, 8)
    assert generator["conv"] == (8, 16, 16)


@pytest.mark.parametrize("network", ["resnet", "cnn"])
@pytest.mark.parametrize("conditioning", ["none", "projection"])
def test_whole_networks_are_measured_and_left_as_they_were(
    tiny_config: RunConfig, network: str, conditioning: str
) -> None:
    config = tiny_config.override(
        {"discriminator": {"network": network, "conditioning": conditioning}, "generator": {"network": network}}
    )
    torch.manual_seed(0)
    networks = (
        build_discriminator(config, 3),
        build_generator(config, 3, source=SigmaSource.POWER_ITERATION),
    )
    for measured in networks:
        power_iteration(measured, 30)
        before = {name: value.clone() for name, value in measured.state_dict().items()}
        told: list[str] = []
        norms = operator_norms(measured, (1, 16, 16), told.append)
        layers = {name: layer for name, layer in weight_layers(measured) if not isinstance(layer, Embedding)}
        assert list(norms) == told == list(layers)
        for name, layer in layers.items():
            if isinstance(layer, Linear):
                assert norms[name].layer_norm == pytest.approx(reshaped_norm(layer), rel=1e-5)
        bound = config.spectral_norm.lipschitz
        assert max(norm.convolution_norm for norm in norms.values()) > 1.2 * bound  # what footnote 3 is about
        assert measured.training
        assert all(torch.equal(value, before[name]) for name, value in measured.state_dict().items())
        assert not any(layer._forward_pre_hooks for layer in layers.values())
