"""The latents and classes of image i under a seed: one definition, for ever.

Image i depends on (seed, i) alone: not on how many images are drawn, on the batch it shares, or on the
machine. The integers are NumPy's Philox 4x64-10 (Salmon et al. 2011) with key (seed, stream) and counter
(0, i, 0, 0); they become uniforms u = ((x >> 11) + 1/2) / 2**53, and uniforms become normals by the inverse
distribution function, so nothing is rejected and an image moves smoothly as the truncation does. Uniform latents are
float32(2u − 1), computed in float64, of the same u: z ~ U(-1, 1).

`numpy.random.Generator` is not used: NumPy does not promise its streams from version to version (NEP 19),
while a bit generator's raw output is fixed by its algorithm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from handlers.errors import LatentError

LATENT_STREAM = 0
CLASS_STREAM = 1
MAX_SEED = 2**32 - 1
DISTRIBUTIONS = ("normal", "uniform")

# Coefficients of Wichura (1988), Algorithm AS 241, PPND16: about 1 part in 10**16.
_CENTRE_NUMERATOR = (
    3.3871328727963666080e0, 1.3314166789178437745e2, 1.9715909503065514427e3, 1.3731693765509461125e4,
    4.5921953931549871457e4, 6.7265770927008700853e4, 3.3430575583588128105e4, 2.5090809287301226727e3,
)  # fmt: skip
_CENTRE_DENOMINATOR = (
    1.0, 4.2313330701600911252e1, 6.8718700749205790830e2, 5.3941960214247511077e3,
    2.1213794301586595867e4, 3.9307895800092710610e4, 2.8729085735721942674e4, 5.2264952788528545610e3,
)  # fmt: skip
_MIDDLE_NUMERATOR = (
    1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0,
    3.64784832476320460504e0, 1.27045825245236838258e0, 2.41780725177450611770e-1,
    2.27238449892691845833e-2, 7.74545014278341407640e-4,
)  # fmt: skip
_MIDDLE_DENOMINATOR = (
    1.0, 2.05319162663775882187e0, 1.67638483018380384940e0,
    6.89767334985100004550e-1, 1.48103976427480074590e-1, 1.51986665636164571966e-2,
    5.47593808499534494600e-4, 1.05075007164441684324e-9,
)  # fmt: skip
_TAIL_NUMERATOR = (
    6.65790464350110377720e0, 5.46378491116411436990e0, 1.78482653991729133580e0,
    2.96560571828504891230e-1, 2.65321895265761230930e-2, 1.24266094738807843860e-3,
    2.71155556874348757815e-5, 2.01033439929228813265e-7,
)  # fmt: skip
_TAIL_DENOMINATOR = (
    1.0, 5.99832206555887937690e-1, 1.36929880922735805310e-1,
    1.48753612908506148525e-2, 7.86869131145613259100e-4, 1.84631831751005468180e-5,
    1.42151175831644588870e-7, 2.04426310338993978564e-15,
)  # fmt: skip


def _polynomial(coefficients: Sequence[float], x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Horner's scheme, lowest coefficient first. The order of operations is part of the contract."""
    result = np.full_like(x, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        result *= x
        result += coefficient
    return result


def inverse_normal_cdf(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Φ⁻¹ of every entry of `p`, each in (0, 1), in float64.

    Source: Wichura 1988, "Algorithm AS 241: The Percentage Points of the Normal Distribution", PPND16.
    """
    q = p - 0.5
    central = np.abs(q) <= 0.425
    z = np.empty_like(q)

    r = 0.180625 - q[central] * q[central]
    z[central] = q[central] * _polynomial(_CENTRE_NUMERATOR, r) / _polynomial(_CENTRE_DENOMINATOR, r)

    q_outer = q[~central]
    smaller_tail = np.where(q_outer < 0, p[~central], 1.0 - p[~central])
    r = np.sqrt(-np.log(smaller_tail))
    magnitude = _polynomial(_MIDDLE_NUMERATOR, r - 1.6) / _polynomial(_MIDDLE_DENOMINATOR, r - 1.6)
    in_tail = r > 5.0
    if in_tail.any():  # p below 1.4e-11: hardly ever, and this runs for every image
        r = r[in_tail] - 5.0
        magnitude[in_tail] = _polynomial(_TAIL_NUMERATOR, r) / _polynomial(_TAIL_DENOMINATOR, r)
    z[~central] = np.copysign(magnitude, q_outer)
    return z


def raw_integers(seed: int, stream: int, index: int, count: int) -> NDArray[np.uint64]:
    """The first `count` 64-bit integers of image `index`."""
    if not 0 <= seed <= MAX_SEED:
        raise LatentError(f"seed must be 0 ... {MAX_SEED}, got {seed}")
    key = np.array([seed, stream], dtype=np.uint64)
    counter = np.array([0, index, 0, 0], dtype=np.uint64)
    return np.random.Philox(key=key, counter=counter).random_raw(count)


def _uniforms(seed: int, stream: int, indices: Sequence[int], count: int) -> NDArray[np.float64]:
    """Uniforms u in (0, 1), (len(indices), count): the middle of one of 2**53 equal cells, never 0 or 1."""
    integers = np.empty((len(indices), count), dtype=np.uint64)
    for row, index in enumerate(indices):
        integers[row] = raw_integers(seed, stream, index, count)
    u = ((integers >> np.uint64(11)).astype(np.float64) + 0.5) / 2.0**53
    # Above 2**52 a half is rounded away, and the very last cell's middle to 1, whose normal is infinite.
    return np.minimum(u, 1.0 - 2.0**-53)


def draw_latents(
    seed: int,
    indices: Sequence[int],
    latent_dim: int,
    truncation: float | None = None,
    distribution: str = "normal",
) -> NDArray[np.float32]:
    """The latents of the images `indices`: float32 (len(indices), latent_dim).

    Args:
        seed: 0 ... 2**32 - 1.
        indices: image numbers, each ≥ 0; image i is the same whatever else is drawn.
        latent_dim: coordinates a latent.
        truncation: t > 0 conditions every coordinate of a standard normal on |z| ≤ t; None is no bound.
        distribution: "normal" or "uniform" (on [-1, 1]).

    Raises:
        LatentError: seed out of range, truncation not positive, or truncation of uniform latents.
    """
    u = _uniforms(seed, LATENT_STREAM, indices, latent_dim)
    if distribution == "uniform":
        if truncation is not None:
            raise LatentError("this model's latents are uniform on [-1, 1]; truncation is for normal latents")
        return (2.0 * u - 1.0).astype(np.float32)
    if distribution != "normal":
        raise LatentError(f"latent distribution {distribution!r} is not one of {', '.join(DISTRIBUTIONS)}")
    if truncation is not None:
        if not truncation > 0.0:
            raise LatentError(f"truncation must be greater than 0, got {truncation}")
        low = 0.5 * math.erfc(truncation / math.sqrt(2.0))  # Φ(-t), without cancellation
        high = 1.0 - low
        u = low + u * (high - low)
    return inverse_normal_cdf(u).astype(np.float32)


def draw_classes(seed: int, indices: Sequence[int], num_classes: int) -> NDArray[np.int64]:
    """The classes that the seed itself chooses for the images `indices`: int64 (len(indices),), ⌊u·K⌋."""
    u = _uniforms(seed, CLASS_STREAM, indices, 1)[:, 0]
    return np.floor(u * num_classes).astype(np.int64)
