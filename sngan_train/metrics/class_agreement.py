"""Does a generated image look like the class it was asked for? A linear probe on real features is the judge.

This is the "GAN-test" of Shmelkov et al. 2018 ("How good is my GAN?") with a linear classifier on fixed features in
place of a network trained for the purpose. The judge errs too, so its accuracy on real images that it never saw belongs
beside every agreement: that, and not 1, is what images as good as real ones reach.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sngan_train.errors import ConfigError

HELD_OUT_FOLD = 5  # one real image in five is kept from the fit
# scikit-learn's C, per image. Of 1e-4 to 0.1 the best by a little for unseen images, of 5,000 of CIFAR-10 and the
# features of efficientnet-lite0.
INVERSE_PENALTY = 1e-3
MOST_ITERATIONS = 200  # some 50 are needed
# A feature that hardly varies over real images, against the average one, is not enlarged beyond this, or else a
# generated image that moves it would be judged by it alone.
SMALLEST_SPREAD = 0.01


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class LinearProbe:
    """Names the class of a feature vector: the largest of weights · features + bias.

    Attributes:
        weights: float64 (K, D).
        bias: float64 (K,); −∞ for a class that had no real image to learn from.
        held_out_accuracy: share of the real images kept from the fit whose class it names rightly, 0 to 1.
        held_out_images: how many those were.
    """

    weights: NDArray[np.float64]
    bias: NDArray[np.float64]
    held_out_accuracy: float
    held_out_images: int

    @classmethod
    def fit(cls, features: Tensor, labels: Tensor, num_classes: int, *, seed: int = 0) -> LinearProbe:
        """Multinomial logistic regression (scikit-learn's) on standardised features of four fifths of the images.

        The same arguments give the same probe on one machine.

        Args:
            features: floating (N, D), of real images.
            labels: integer (N,), 0 to `num_classes` − 1.
            num_classes: K.
            seed: which fifth of each class is held out.

        Raises:
            ConfigError: fewer than two classes have images, or none has five.
            ValueError: shapes or labels that do not fit.
        """
        if features.ndim != 2 or labels.shape != features.shape[:1]:
            raise ValueError(f"features are (N, D) and labels (N,), got {tuple(features.shape)}, {tuple(labels.shape)}")
        x, y = features.numpy().astype(np.float64), labels.numpy().astype(np.int64)
        present = np.unique(y)
        if len(present) and not 0 <= present[0] <= present[-1] < num_classes:
            raise ValueError(f"labels are 0 to {num_classes - 1}, got {present[0]} to {present[-1]}")
        if len(present) < 2:
            raise ConfigError(f"a linear probe tells two or more classes apart, there are images of {len(present)}")
        held_out = _held_out(y, seed)
        if not held_out.any():
            raise ConfigError(
                f"a linear probe keeps one image in {HELD_OUT_FOLD} of a class from the fit; no class has that many"
            )
        weights, bias = _logistic_regression(x[~held_out], y[~held_out], num_classes)
        right = _predict(weights, bias, x[held_out]) == y[held_out]
        return cls(
            weights=weights, bias=bias, held_out_accuracy=float(right.mean()), held_out_images=int(held_out.sum())
        )

    def predict(self, features: Tensor) -> Tensor:
        """The class of each of `features`, floating (N, D): int64 (N,).

        Raises:
            ValueError: features of another length.
        """
        if features.ndim != 2 or features.shape[1] != self.weights.shape[1]:
            raise ValueError(f"the probe takes features (N, {self.weights.shape[1]}), got {tuple(features.shape)}")
        return torch.from_numpy(_predict(self.weights, self.bias, features.double().numpy()))

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """For an .npz file: the attributes by their names."""
        return {field.name: np.asarray(getattr(self, field.name)) for field in dataclasses.fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> LinearProbe:
        """The reverse of `to_arrays`, to the bit; further names are left alone.

        Raises:
            KeyError: an array is missing.
            ValueError: shapes that do not fit.
        """
        weights, bias = arrays["weights"], arrays["bias"]
        if weights.ndim != 2 or bias.shape != weights.shape[:1]:
            raise ValueError(f"not a linear probe: weights {weights.shape}, bias {bias.shape}")
        return cls(
            weights=np.asarray(weights, dtype=np.float64),
            bias=np.asarray(bias, dtype=np.float64),
            held_out_accuracy=float(arrays["held_out_accuracy"]),
            held_out_images=int(arrays["held_out_images"]),
        )


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ClassAgreement:
    """How often the probe names the class that an image was generated for.

    Attributes:
        overall: share of all images, 0 to 1.
        per_class: the same for the images of each class; NaN for one without.
    """

    overall: float
    per_class: tuple[float, ...]

    @property
    def worst(self) -> float:
        """The smallest of `per_class`, of classes that have images."""
        return float(np.nanmin(self.per_class))


def class_agreement(probe: LinearProbe, features: Tensor, labels: Tensor) -> ClassAgreement:
    """Compare what the probe names with what was asked for.

    Args:
        probe: fitted on real features of the same extractor.
        features: floating (N, D), N ≥ 1, of generated images.
        labels: integer (N,), the classes that they were generated for.

    Raises:
        ValueError: shapes or labels that do not fit.
    """
    if labels.shape != features.shape[:1] or not len(labels):
        raise ValueError(f"features are (N, D) and labels (N,), got {tuple(features.shape)}, {tuple(labels.shape)}")
    num_classes = len(probe.bias)
    if int(labels.min()) < 0 or int(labels.max()) >= num_classes:
        raise ValueError(f"labels are 0 to {num_classes - 1}, got {int(labels.min())} to {int(labels.max())}")
    right = (probe.predict(features) == labels).double()
    return ClassAgreement(
        overall=float(right.mean()),
        per_class=tuple(float(right[labels == label].mean()) for label in range(num_classes)),
    )


def _held_out(labels: NDArray[np.int64], seed: int) -> NDArray[np.bool_]:
    """A random fifth, rounded down, of the images of every class: bool (N,)."""
    generator = np.random.default_rng(seed)
    held_out = np.zeros(len(labels), dtype=np.bool_)
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        held_out[members[: len(members) // HELD_OUT_FOLD]] = True
    return held_out


def _logistic_regression(
    features: NDArray[np.float64], labels: NDArray[np.int64], num_classes: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weights (K, D) and bias (K,), of features as they are: the standardisation is folded in."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    centre, spread = features.mean(axis=0), features.std(axis=0)
    spread = np.maximum(spread, SMALLEST_SPREAD * spread.mean())
    spread[spread == 0.0] = 1.0
    model = LogisticRegression(C=INVERSE_PENALTY, max_iter=MOST_ITERATIONS)
    # The products are too thin to share: two threads wait for one another ten times as long as they compute.
    with threadpool_limits(1), warnings.catch_warnings():
        # A fit that is nearly there is judged by its held-out accuracy, like any other.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit((features - centre) / spread, labels)
    coefficients, intercepts = model.coef_, model.intercept_
    if len(model.classes_) == 2:  # then scikit-learn has one row, the second class's
        coefficients = np.concatenate([np.zeros_like(coefficients), coefficients])
        intercepts = np.concatenate([np.zeros_like(intercepts), intercepts])
    weights = np.zeros((num_classes, features.shape[1]))
    bias = np.full(num_classes, -np.inf)
    weights[model.classes_] = coefficients / spread
    bias[model.classes_] = intercepts - weights[model.classes_] @ centre
    return weights, bias


def _predict(
    weights: NDArray[np.float64], bias: NDArray[np.float64], features: NDArray[np.float64]
) -> NDArray[np.int64]:
    named: NDArray[np.int64] = (features @ weights.T + bias).argmax(axis=1)
    return named
