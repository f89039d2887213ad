"""The Inception score of logits that arrive in batches: exp of the mean divergence of p(class | image) from p(class).

Source: Salimans et al. 2016. The papers score 50,000 images as 10 sets of 5,000 and give the mean and the standard
deviation over the sets: `InceptionScore(sets=10, images_per_set=5000)`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sngan_train.errors import ConfigError

ROWS_AT_A_TIME = 1024  # that are float64 at one time


class Score(NamedTuple):
    """The score of each of several sets of images: from 1 up to the number of classes.

    Attributes:
        mean: over the sets.
        std: over the sets, divided by their number, as in the published scores; 0 of one set.
    """

    mean: float
    std: float


class InceptionScore:
    """The score of `sets` sets of `images_per_set` images, from two sums a set; logits are not kept.

    Set s has the images from s · `images_per_set` on, as torch-fidelity cuts them when it does not shuffle. Batches may
    be of any size and come in any order. A score of fewer images a set is lower.
    """

    def __init__(self, *, sets: int, images_per_set: int) -> None:
        if sets < 1 or images_per_set < 1:
            raise ConfigError(f"an Inception score is of 1 set of 1 image or more, not {sets} of {images_per_set}")
        self._images_per_set = images_per_set
        self._counts = torch.zeros(sets, dtype=torch.int64)
        self._probabilities = torch.zeros(sets, 0, dtype=torch.float64)  # Σ p: (sets, K), from the first logits on
        self._negative_entropies = torch.zeros(sets, dtype=torch.float64)  # Σ Σ p log p

    def add(self, logits: Tensor, start: int) -> None:
        """Take in the logits of the images from number `start` on.

        Args:
            logits: floating (n, K), on the CPU, before the softmax.
            start: which image of all the first row is of, from 0.

        Raises:
            ValueError: logits of another shape, not finite, or of images beyond the last.
        """
        if logits.ndim != 2 or self._probabilities.shape[1] not in (0, logits.shape[1]):
            raise ValueError(f"logits are (n, {self._probabilities.shape[1] or 'K'}), got {tuple(logits.shape)}")
        images = len(self._counts) * self._images_per_set
        if start < 0 or start + len(logits) > images:
            raise ValueError(f"there are {images} images: none from {start} to {start + len(logits) - 1}")
        if not torch.isfinite(logits).all():
            raise ValueError("logits hold values that are not finite")
        self._make_room(logits.shape[1])
        for part in torch.split(logits.detach(), ROWS_AT_A_TIME):
            number = torch.arange(start, start + len(part)) // self._images_per_set
            log_p = part.double().log_softmax(dim=1)
            p = log_p.exp()
            self._counts.index_add_(0, number, torch.ones_like(number))
            self._probabilities.index_add_(0, number, p)
            self._negative_entropies.index_add_(0, number, (p * log_p).sum(dim=1))
            start += len(part)

    def merge(self, other: InceptionScore) -> None:
        """Take in what `other` has: some of the same images, as another process saw them.

        Raises:
            ValueError: other sets or classes.
        """
        classes = {self._probabilities.shape[1], other._probabilities.shape[1]} - {0}
        same_sets = (len(self._counts), self._images_per_set) == (len(other._counts), other._images_per_set)
        if not same_sets or len(classes) > 1:
            raise ValueError("Inception scores of other sets or classes do not merge")
        if other._probabilities.shape[1]:
            self._make_room(other._probabilities.shape[1])
            self._counts += other._counts
            self._probabilities += other._probabilities
            self._negative_entropies += other._negative_entropies

    def result(self) -> Score:
        """The score of all images.

        Raises:
            ValueError: an image has not been added, or one more than once.
        """
        if not (self._counts == self._images_per_set).all():
            raise ValueError(f"sets of {self._images_per_set} images have had {self._counts.tolist()}")
        p = self._probabilities / self._images_per_set
        marginal = torch.special.entr(p).sum(dim=1)  # −Σ p log p, where 0 log 0 is 0
        scores = (self._negative_entropies / self._images_per_set + marginal).exp().numpy()
        return Score(mean=float(np.mean(scores)), std=float(np.std(scores)))

    def _make_room(self, num_classes: int) -> None:
        if not self._probabilities.shape[1]:
            self._probabilities = torch.zeros(len(self._counts), num_classes, dtype=torch.float64)


def inception_score(logits: Tensor, splits: int = 10) -> Score:
    """The score of logits that are all there: floating (N, K), in `splits` consecutive sets of N / `splits`.

    Raises:
        ConfigError: `splits` does not divide N.
    """
    if splits < 1 or len(logits) % splits:
        raise ConfigError(f"{len(logits)} images do not make {splits} equal sets for an Inception score")
    score = InceptionScore(sets=splits, images_per_set=len(logits) // splits)
    score.add(logits, 0)
    return score.result()
