"""Precision, recall, density and coverage: which images lie among the nearest neighbours of which others.

A *ball* of an image is centred on its features and reaches to its kth nearest neighbour of its own kind. Distances are
Euclidean, and a point on the surface is inside.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from sngan_train.errors import ConfigError

PRECISION_NEIGHBOURS = 3  # Kynkäänniemi et al. 2019
DENSITY_NEIGHBOURS = 5  # Naeem et al. 2020
ROWS_AT_A_TIME = 1024


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class NeighbourMetrics:
    """How generated images lie among real ones.

    Attributes:
        precision: share of generated images inside a real image's ball (k = `precision_neighbours`), 0 to 1.
        recall: share of real images inside a generated image's ball (the same k), 0 to 1.
        density: number of real balls (k = `density_neighbours`) that a generated image is inside of, on average, over
            k. Expected to be 1 where both distributions are equal; it can be more.
        coverage: share of real images whose ball (the same k) holds a generated image, 0 to 1. Where both
            distributions are equal and so are the numbers of images, about 1 − 2⁻ᵏ.
    """

    precision: float
    recall: float
    density: float
    coverage: float
    precision_neighbours: int
    density_neighbours: int


def neighbour_metrics(
    real: Tensor,
    generated: Tensor,
    *,
    precision_neighbours: int = PRECISION_NEIGHBOURS,
    density_neighbours: int = DENSITY_NEIGHBOURS,
) -> NeighbourMetrics:
    """All four, from three tables of distances that are made a block of rows at a time.

    torch-fidelity has the first two, from six tables. All four depend on the numbers of images: compare scores of
    equal numbers only.

    Args:
        real: floating (N, D).
        generated: floating (M, D).
        precision_neighbours: k of precision and recall.
        density_neighbours: k of density and coverage.

    Raises:
        ConfigError: k is not from 1 to the number of images less one.
        ValueError: features of different lengths.
    """
    if real.ndim != 2 or generated.ndim != 2 or real.shape[1] != generated.shape[1]:
        raise ValueError(f"features are (N, D) and (M, D), got {tuple(real.shape)} and {tuple(generated.shape)}")
    # Distances do not depend on the origin, but their rounding does: squared norms should be no larger than need be.
    origin = real.mean(dim=0)
    real, generated = real - origin, generated - origin

    precision_radii, density_radii = _squared_radii(real, (precision_neighbours, density_neighbours))
    (recall_radii,) = _squared_radii(generated, (precision_neighbours,))

    precise, balls_around_generated = 0, 0
    recalled = torch.zeros(len(real), dtype=torch.bool)
    nearest = torch.full((len(real),), torch.inf, dtype=real.dtype)
    for start in range(0, len(generated), ROWS_AT_A_TIME):
        block = generated[start : start + ROWS_AT_A_TIME]
        distances = _squared_distances(block, real)  # (block, N)
        precise += int((distances <= precision_radii).any(dim=1).sum())
        balls_around_generated += int((distances <= density_radii).sum())
        recalled |= (distances <= recall_radii[start : start + len(block), None]).any(dim=0)
        nearest = torch.minimum(nearest, distances.amin(dim=0))
    return NeighbourMetrics(
        precision=precise / len(generated),
        recall=int(recalled.sum()) / len(real),
        density=balls_around_generated / (density_neighbours * len(generated)),
        coverage=int((nearest <= density_radii).sum()) / len(real),
        precision_neighbours=precision_neighbours,
        density_neighbours=density_neighbours,
    )


def _squared_radii(features: Tensor, neighbours: tuple[int, ...]) -> list[Tensor]:
    """For each k of `neighbours` the squared distance of every row to its kth nearest other row, (N,)."""
    for k in neighbours:
        if not 1 <= k < len(features):
            raise ConfigError(
                f"the distance to neighbour number {k} needs more than {k} images, there are {len(features)}"
                if k >= 1
                else f"neighbours are counted from 1, got {k}"
            )
    largest = max(neighbours)
    nearest = []
    for start in range(0, len(features), ROWS_AT_A_TIME):
        block = features[start : start + ROWS_AT_A_TIME]
        distances = _squared_distances(block, features)
        distances.diagonal(start).fill_(torch.inf)  # a row is not its own neighbour
        nearest.append(distances.topk(largest, largest=False, sorted=True).values)
    sorted_distances = torch.cat(nearest)  # (N, largest)
    return [sorted_distances[:, k - 1] for k in neighbours]


def _squared_distances(rows: Tensor, columns: Tensor) -> Tensor:
    """‖x − y‖² of all pairs, (rows, columns), not negative."""
    norms = rows.square().sum(dim=1)[:, None] + columns.square().sum(dim=1)
    return norms.addmm_(rows, columns.t(), alpha=-2.0).clamp_(min=0.0)
