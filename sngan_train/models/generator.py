"""What every generator is, whatever its network."""

from __future__ import annotations

from torch import Tensor, nn


class Generator(nn.Module):
    """Latent, and label if conditional → image in [-1, 1]."""

    def __init__(self, *, latent_dim: int, conditional: bool) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.conditional = conditional
        self.latent_distribution = "normal"

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """(N, latent_dim) float32, (N,) int64 → (N, channels, S, S); an unconditional generator ignores the label."""
        raise NotImplementedError
