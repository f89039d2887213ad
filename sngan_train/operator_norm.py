"""The norm of each layer as the linear map that it is, beside the norm of its reshaped kernel.

Spectral norm divides by the largest singular value of a kernel read as a matrix (outputs) × (everything else). The
convolution that the kernel makes is another matrix: it has a row for each output pixel, and its own largest singular
value, ‖conv‖, depends on the input's size, the stride and the padding (Miyato et al. 2018, footnote 3). With σ that of
the reshaped kernel, a k × k convolution of stride s obeys

    ‖conv‖ ≤ ⌈k / s⌉ · σ,    and ‖conv‖ ≥ σ where one whole k × k window lies inside the image,

because it multiplies every window of the image by that matrix, and the windows together hold each pixel at most
⌈k / s⌉² times (for s = 1: Tsuzuku et al. 2018). So ‖conv‖ is σ for a 1 × 1 kernel and up to 3 σ for a 3 × 3 one. A
transposed convolution, whose matrix has its own outputs as rows here, spreads a pixel over k² windows: ‖conv‖ ≤ k · σ.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh
from torch import Tensor, nn
from torch.nn import functional

from sngan_train.errors import TrainError
from sngan_train.models import Discriminator, Generator, weight_layers
from sngan_train.models.layers import Convolution, Embedding, Linear, Resampling, TransposedConvolution
from sngan_train.models.resampling import ResamplingForm, convolution_downsample, upsample_convolution
from sngan_train.models.weight_rule import RuledLayer

TOLERANCE = 1e-5  # of the square of the norm: ‖AᵀAx − θx‖ ≤ TOLERANCE · θ for the θ that is given
MAX_RESTARTS = 500  # of about 20 products with AᵀA each; the layers of our networks need 1 to 15
START_SEED = 0

LinearMap = Callable[[Tensor], Tensor]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class OperatorNorm:
    """One layer as a linear map; its bias is left out.

    Attributes:
        input_shape: of one example: (C, H, W), or (inputs,).
        convolution_norm: of the convolution alone, on the image that it reads (after an upsampling).
        layer_norm: with the nearest upsampling or 2 × 2 mean pooling that the layer carries, else the same number.
            Those have norms of their own, 2 and 1/2.
        products: how many products with AᵀA the two numbers took.
    """

    input_shape: tuple[int, ...]
    convolution_norm: float
    layer_norm: float
    products: int


@torch.no_grad()
def operator_norms(
    network: Generator | Discriminator,
    image_shape: tuple[int, int, int],
    report: Callable[[str], None] = lambda _: None,
) -> dict[str, OperatorNorm]:
    """The norm of every layer of `network` with the weight that it computes with, by the layer's name.

    `image_shape` is (C, S, S), what a discriminator reads. A class embedding looks a row up instead of mapping a vector
    and is left out. The network is left as it was. `report` is told each layer's name before its turn.
    """
    norms = {}
    shapes = input_shapes(network, image_shape)
    for name, layer in weight_layers(network):
        if isinstance(layer, Embedding):
            continue
        report(name)
        norms[name] = layer_norm(layer, shapes[name])
    return norms


def input_shapes(network: Generator | Discriminator, image_shape: tuple[int, int, int]) -> dict[str, tuple[int, ...]]:
    """The shape of one example of what every layer reads, by the layer's name: seen in one pass over zeros."""
    parameter = next(network.parameters())
    shape = (network.latent_dim,) if isinstance(network, Generator) else image_shape
    seen: dict[str, tuple[int, ...]] = {}

    def watch(name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def note(_: nn.Module, inputs: tuple[Any, ...]) -> None:
            seen[name] = tuple(inputs[0].shape[1:])

        return note

    handles = [layer.register_forward_pre_hook(watch(name)) for name, layer in weight_layers(network)]
    was_training = network.training
    try:
        network.eval()  # batch statistics of one example would be of no use, and must not be kept
        label = torch.zeros(1, dtype=torch.int64, device=parameter.device)
        network(torch.zeros(1, *shape, device=parameter.device), label)
    finally:
        network.train(was_training)
        for handle in handles:
            handle.remove()
    return seen


@torch.no_grad()
def layer_norm(layer: RuledLayer, input_shape: tuple[int, ...]) -> OperatorNorm:
    """The norm of a Linear, Convolution or TransposedConvolution on examples of `input_shape`."""
    weight = layer.normalized_weight().double()
    if isinstance(layer, Linear):
        norm = float(torch.linalg.matrix_norm(weight, 2))
        return OperatorNorm(input_shape=input_shape, convolution_norm=norm, layer_norm=norm, products=0)
    convolution, whole = linear_maps(layer, weight)
    if whole is None:
        norm, products = largest_singular_value(convolution, input_shape, weight.device)
        return OperatorNorm(input_shape=input_shape, convolution_norm=norm, layer_norm=norm, products=products)
    read_shape = input_shape
    if isinstance(layer, Convolution) and layer.resampling is Resampling.UP:  # the convolution reads the larger image
        read_shape = (input_shape[0], *(2 * side for side in input_shape[1:]))
    norm, products = largest_singular_value(convolution, read_shape, weight.device)
    norm_of_all, more_products = largest_singular_value(whole, input_shape, weight.device)
    return OperatorNorm(
        input_shape=input_shape,
        convolution_norm=norm,
        layer_norm=norm_of_all,
        products=products + more_products,
    )


def linear_maps(layer: RuledLayer, weight: Tensor) -> tuple[LinearMap, LinearMap | None]:
    """(the convolution with `weight`, the same with the layer's resampling or None if it has none), without bias.

    Both map (N, in, H, W) → (N, out, H', W').
    """
    assert isinstance(layer, Convolution | TransposedConvolution), type(layer)
    stride, padding = layer.stride, layer.padding
    assert not isinstance(padding, str)  # torch's "same" and "valid", which no layer of ours says
    if isinstance(layer, TransposedConvolution):
        return lambda x: functional.conv_transpose2d(x, weight, stride=stride, padding=padding), None

    def convolution(x: Tensor) -> Tensor:
        return functional.conv2d(x, weight, stride=stride, padding=padding)

    # The fused form is the same function, in less time.
    if layer.resampling is Resampling.UP:
        return convolution, lambda x: upsample_convolution(x, weight, None, ResamplingForm.FUSED)
    if layer.resampling is Resampling.DOWN:
        return convolution, lambda x: convolution_downsample(x, weight, None, ResamplingForm.FUSED)
    return convolution, None


def largest_singular_value(
    linear_map: LinearMap, input_shape: tuple[int, ...], device: torch.device | None = None
) -> tuple[float, int]:
    """(‖A‖, products with AᵀA) of a float64 `linear_map` A from (1, *input_shape), which has at least three entries.

    The power iteration's products x ↦ AᵀAx, with Aᵀ the backward pass, are given to ARPACK's Lanczos method: it keeps
    the last twenty directions instead of one and gets to the same precision in a fraction of the products, which
    matters because the large singular values of a convolution lie close together. It stops at a residual of 1e-5 of
    ‖A‖², so that ‖A‖ is good to 5e-6 of itself or better. The start is a fixed random vector, so that the same map
    gives the same number.

    Raises:
        TrainError: no convergence within 500 restarts.
    """
    size, products = math.prod(input_shape), 0

    def square(vector: NDArray[np.float64]) -> NDArray[np.float64]:
        nonlocal products
        products += 1
        x = torch.from_numpy(np.ascontiguousarray(vector, dtype=np.float64)).to(device).view(1, *input_shape)
        image, transposed, *_ = torch.func.vjp(linear_map, x)
        (back,) = transposed(image)
        flat: NDArray[np.float64] = back.flatten().cpu().numpy()
        return flat

    start = np.random.default_rng(START_SEED).standard_normal(size)
    if not square(start).any():  # ARPACK takes no zero map
        return 0.0, products
    operator = LinearOperator((size, size), matvec=square, dtype=np.float64)
    try:
        (eigenvalue,) = eigsh(
            operator, k=1, which="LA", v0=start, tol=TOLERANCE, maxiter=MAX_RESTARTS, return_eigenvectors=False
        )
    except ArpackNoConvergence as error:
        raise TrainError(
            f"the norm of a layer on {' × '.join(map(str, input_shape))} inputs did not converge ({error}); "
            "--no-operator-norm leaves it out"
        ) from error
    return math.sqrt(max(float(eigenvalue), 0.0)), products
