"""The handler of the archive that `export.stock_archive` writes: a BaseHandler in the manner of TorchServe's tutorials.

It is copied into the archive as it is. Loading the network and running it are BaseHandler's own; what is here makes a
request into tensors and images into PNG files, on the installed package's encoder. Latents are NumPy's, not ours, so
the pictures are others than `sngan serve` draws. It serves measurements and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from ts.torch_handler.base_handler import BaseHandler

from handlers.encodings import encode_png
from handlers.layouts import one_picture
from handlers.session import to_uint8


class StockHandler(BaseHandler):  # type: ignore[misc]  # TorchServe has no types
    """JSON `n` (1), `class` (an id, 0) and `seed` (0) → a PNG, a grid for several images; nothing is checked."""

    def preprocess(self, data: Sequence[Mapping[str, Any]]) -> list[tuple[Tensor, Tensor]]:
        """Latents and labels of each request."""
        inputs = []
        for row in data:
            body = row.get("data") or row.get("body")
            fields = body if isinstance(body, Mapping) else json.loads(body or "{}")
            n = int(fields.get("n", 1))
            latents = np.random.default_rng(fields.get("seed", 0)).standard_normal((n, self.model.generator.latent_dim))
            labels = torch.full((n,), fields.get("class", 0), dtype=torch.int64)
            inputs.append((torch.from_numpy(latents.astype(np.float32)), labels))
        return inputs

    def inference(self, data: Sequence[tuple[Tensor, Tensor]]) -> list[Tensor]:
        """The images of each request, in [-1, 1]."""
        return [super(StockHandler, self).inference(z, label.to(self.device)) for z, label in data]

    def postprocess(self, data: Sequence[Tensor]) -> list[bytes]:
        """A PNG file for each request."""
        for index in range(len(data)):
            self.context.set_response_content_type(index, "image/png")
        return [encode_png(one_picture(to_uint8(images.cpu().numpy()))) for images in data]
