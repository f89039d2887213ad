"""Fold W̄ = K · W / σ into plain weights."""

from __future__ import annotations

from typing import Any

import torch

from export.errors import VerificationError
from sngan_train.config import RunConfig
from sngan_train.models import Generator, build_generator
from sngan_train.models.spectral_norm import SigmaSource, exact_sigma, spectral_layers

# A folded weight's largest singular value against the Lipschitz constant: float32 rounding of the weight.
FOLDED_SIGMA_RTOL = 1e-3


@torch.no_grad()
def fold_spectral_norm(unfolded: Generator, config: RunConfig, num_classes: int) -> Generator:
    """A generator without any spectral norm whose weights are those that `unfolded` computes with.

    Folded means: the very tensor that the un-folded network's forward pass uses, so both are one function to
    the last bit of a weight. A fresh network is built and the tensors are put in under a strict check of names
    and shapes; nothing is removed from a live one. `num_classes` is what `unfolded` was built with.
    """
    state = unfolded.state_dict()
    for name, layer in spectral_layers(unfolded):
        state[f"{name}.weight"] = layer.normalized_weight()
        del state[f"{name}.sigma"]
    folded = build_generator(config, num_classes, source=SigmaSource.NONE)
    folded.load_state_dict(state, strict=True)
    return folded.eval().requires_grad_(False)


def require_finite(network: Generator) -> None:
    """Raise VerificationError, naming the tensor, where a weight or a statistic is not finite."""
    for name, tensor in network.state_dict().items():
        if not torch.isfinite(tensor).all():
            raise VerificationError(
                f"the checkpoint's {name}: holds values that are not finite; export an earlier checkpoint of the run"
            )


def sigma_report(unfolded: Generator, folded: Generator, lipschitz: float) -> list[dict[str, Any]]:
    """For every normalised layer: the σ that was divided by, σ of the raw weight, and what is left of it.

    `sigma` is the checkpoint's; `sigma_svd` and `folded_sigma`, the largest singular values of the raw and of the
    folded weight, are by SVD in float64. A network without spectral norm has an empty report.

    Raises VerificationError where what is left is not the Lipschitz constant within FOLDED_SIGMA_RTOL.
    """
    weights = dict(folded.named_parameters())
    report = []
    for name, layer in spectral_layers(unfolded):
        raw = float(exact_sigma(layer.weight_matrix(layer.weight)))
        left = float(exact_sigma(layer.weight_matrix(weights[f"{name}.weight"])))
        report.append({"layer": name, "sigma": float(layer.estimated_sigma()), "sigma_svd": raw, "folded_sigma": left})
        if not abs(left - lipschitz) <= FOLDED_SIGMA_RTOL * lipschitz:
            raise VerificationError(
                f"layer {name}: the folded weight's largest singular value is {left:.6f}, not {lipschitz}; "
                "the checkpoint's stored σ does not belong to its weights"
            )
    return report
