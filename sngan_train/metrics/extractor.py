"""Feature extractors by name: `inception`, `efficientnet-lite0`. What they share, and how to load one.

A distance between two sets of images is one between their features, so it means something only together with the facts
of the extractor: another network, size, resize or precision gives other numbers.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from sngan_train.errors import ConfigError

EXTRACTORS = ("inception", "efficientnet-lite0")
PRECISIONS = ("auto", "float32", "bfloat16")

Report = Callable[[str], None]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Features:
    """What a network says of N images, in their order.

    Attributes:
        features: float32 (N, D), on the CPU: the spatial mean of the last convolution.
        logits: float32 (N, K), on the CPU: of the network's own ImageNet classes, for the Inception score.
    """

    features: Tensor
    logits: Tensor


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ExtractorFacts:
    """All that a feature depends on beside the image. Goes into every metric record.

    Attributes:
        name: one of EXTRACTORS.
        feature_dim: D.
        input_size: pixels of a side that the network sees.
        resize: how an image of another size becomes one of `input_size`, in words.
        precision: "float32" or "bfloat16", of the convolutions.
        weights_sha256: of the weights file.
    """

    name: str
    feature_dim: int
    input_size: int
    resize: str
    precision: str
    weights_sha256: str


class FeatureExtractor(Protocol):
    """A network that turns images into features, the same whatever images come with an image (`extract_in_chunks`)."""

    @property
    def facts(self) -> ExtractorFacts:
        """What the features depend on."""
        ...

    def __call__(self, images: Tensor) -> Features:
        """Features of uint8 (N, C, S, S) with N ≥ 1, on any device; C is 3 (RGB) or 1 (grey, repeated)."""
        ...


def load_extractor(
    name: str,
    device: torch.device,
    *,
    inception_weights: Path | None = None,
    precision: str = "auto",
    report: Report = lambda text: None,
) -> FeatureExtractor:
    """The extractor `name` on `device`, ready to be called.

    Args:
        name: one of EXTRACTORS.
        device: where the network computes; features come back to the CPU.
        inception_weights: the file, if it shall be neither looked for nor downloaded; for `inception` alone.
        precision: of `efficientnet-lite0`; "auto" is bfloat16 where the hardware multiplies in it. `inception` is
            always computed in float32, as everywhere.
        report: gets a line when something takes long.

    Raises:
        ConfigError: unknown name, an option that the extractor does not have, or a package is missing.
        DataError: the weights cannot be had, or are not the published ones.
    """
    if name not in EXTRACTORS:
        near = difflib.get_close_matches(name, EXTRACTORS, n=1)
        advice = f"did you mean {near[0]}?" if near else f"known: {', '.join(EXTRACTORS)}"
        raise ConfigError(f"unknown feature extractor {name!r}; {advice}")
    if inception_weights is not None and name != "inception":
        raise ConfigError(f"--inception-weights goes with --features inception, not with {name}")
    if precision not in PRECISIONS:
        raise ConfigError(f"precision of the features {precision!r} is not one of {', '.join(PRECISIONS)}")
    try:
        if name == "inception":
            from sngan_train.metrics.inception import load_inception

            return load_inception(device, weights=inception_weights, report=report)
        from sngan_train.metrics.efficientnet import load_efficientnet

        return load_efficientnet(device, precision)
    except ModuleNotFoundError as error:
        raise ConfigError(f"--features {name} needs {error.name}: `pip install 'sngan[evaluate]'`") from error


def distance_name(facts: ExtractorFacts, *, kernel: bool = False) -> str:
    """What the Fréchet distance (or the kernel distance) of these features may be called.

    FID and KID are the Inception network's; of other features the name says which.
    """
    if facts.name == "inception":
        return "KID" if kernel else "FID"
    return f"{'KD' if kernel else 'FD'}({facts.name})"


def extract_in_chunks(images: Tensor, chunk: int, network: Callable[[Tensor], tuple[Tensor, Tensor]]) -> Features:
    """`network` on `chunk` images at a time, always exactly that many, the last ones filled up with black.

    Matrix libraries choose their algorithm, and so the order of their sums, by the size of the batch. With a fixed size
    an image's features are the same bits whatever N and its neighbours are. Its place in the chunk has been seen to
    make no difference either; the tests allow rounding there. The price is less than one chunk.

    Args:
        images: uint8 (N, C, S, S), C 1 or 3, N ≥ 1.
        chunk: images at a time.
        network: uint8 (chunk, 3, S, S) → features (chunk, D) and logits (chunk, K).
    """
    assert images.dtype == torch.uint8, images.dtype
    assert images.dim() == 4, images.shape
    assert images.shape[0] >= 1, images.shape
    assert images.shape[1] in (1, 3), images.shape
    features, logits = [], []
    with torch.inference_mode():
        for part in torch.split(images, chunk):
            count = part.shape[0]
            if count < chunk:
                part = torch.cat([part, part.new_zeros(chunk - count, *part.shape[1:])])
            some_features, some_logits = network(part.expand(-1, 3, -1, -1))
            features.append(some_features[:count].float().cpu())
            logits.append(some_logits[:count].float().cpu())
    # Joined outside inference mode: an inference tensor cannot enter a computation with gradients.
    return Features(features=torch.cat(features), logits=torch.cat(logits))
