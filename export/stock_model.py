"""The model file of the archive that `export.stock_archive` writes: a network as a class, in the tutorials' manner.

It is copied into the archive as it is. TorchServe's BaseHandler makes an instance without arguments and loads the state
into it; the network's code is the installed package's.
"""

from __future__ import annotations

import json
from pathlib import Path

from torch import Tensor, nn

from sngan_train.config import RunConfig
from sngan_train.models import build_generator
from sngan_train.models.spectral_norm import SigmaSource

FACTS_FILE = "stock_model.json"  # beside this file in the archive


class StockGenerator(nn.Module):
    """The generator as it was trained: the spectral norm, if it has one, divides by σ in every run."""

    def __init__(self) -> None:
        super().__init__()
        facts = json.loads((Path(__file__).parent / FACTS_FILE).read_text(encoding="utf-8"))
        config = RunConfig.from_dict(facts["config"])
        self.generator = build_generator(config, facts["num_classes"], source=SigmaSource.FIXED)

    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        """(N, latent_dim), (N,) → (N, channels, S, S) in [-1, 1]; a generator without classes ignores the label."""
        images: Tensor = self.generator(z, label)
        return images
