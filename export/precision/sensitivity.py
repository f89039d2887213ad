"""Which layers 8-bit numbers hurt, found by measurement, and which to leave in float32 so that a budget holds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from export.precision.layers import Layer
from export.precision.pixels import PixelDifference, PixelDifferenceSum
from export.precision.serving_draws import SENSITIVITY_SEED, Draw, serving_draws
from export.precision.sessions import draw_images, open_session
from handlers.metadata import GeneratorMetadata
from handlers.session import to_uint8

SEARCH_IMAGES = 48
IMAGES_A_RUN = 16
SEARCH_MARGIN_DB = 1.0  # above the gate's budget: other images, and more of them, decide there

Quantize = Callable[[Sequence[str]], onnx.ModelProto]  # the names of layers → the graph with those in 8 bits


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class LayerEffect:
    """What one layer in 8 bits does to the pictures.

    Attributes:
        name: the layer's.
        share_of_multiply_adds: of all layers', 0 to 1: what it is worth.
        mean_squared_error: in levels², with this layer alone in 8 bits.
        psnr_db: the same as a signal-to-noise ratio; ∞ where no pixel changes.
        quantized: whether it is computed in 8 bits in the end.
    """

    name: str
    share_of_multiply_adds: float
    mean_squared_error: float
    psnr_db: float
    quantized: bool


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """Which layers to quantise.

    Attributes:
        effects: of every layer, first to last.
        psnr_db: of all the chosen layers together, on the images of the search; None if no layer is left.
        num_images: how many those images were.
    """

    effects: tuple[LayerEffect, ...]
    psnr_db: float | None
    num_images: int

    @property
    def quantized(self) -> tuple[str, ...]:
        """Names of the chosen layers."""
        return tuple(effect.name for effect in self.effects if effect.quantized)


class _Search:
    """A few pictures of the float32 graph, and how far another graph's are from them."""

    def __init__(self, float32: onnx.ModelProto, metadata: GeneratorMetadata, num_images: int) -> None:
        self._draws = list(serving_draws(metadata, seed=SENSITIVITY_SEED, images=range(num_images), batch=IMAGES_A_RUN))
        session = open_session(float32)
        self._references = [_levels(session, draw) for draw in self._draws]

    def difference(self, model: onnx.ModelProto) -> PixelDifference:
        session, total = open_session(model), PixelDifferenceSum()
        for draw, reference in zip(self._draws, self._references, strict=True):
            total.add(_levels(session, draw), reference)
        return total.result()


def choose_layers(
    float32: onnx.ModelProto,
    layers: Sequence[Layer],
    quantize: Quantize,
    metadata: GeneratorMetadata,
    *,
    budget_db: float,
    num_images: int = SEARCH_IMAGES,
    say: Callable[[str], None] = lambda text: None,
) -> Choice:
    """Measure every layer alone, then all together, leaving out the worst until the pictures are near enough.

    The worst is the one with the largest squared error for each multiply-add that it saves: rounding errors of
    different layers are independent, so their squares add up, and what is left out shall cost little speed.

    Args:
        float32: the graph to be near to.
        layers: first to last, not empty.
        quantize: makes the graph in which the named layers are in 8 bits.
        metadata: of the latents.
        budget_db: smallest PSNR of the gate; the search asks for SEARCH_MARGIN_DB more.
        num_images: pictures of the search.
        say: gets a line for each layer that is left out.
    """
    assert layers
    search = _Search(float32, metadata, num_images)
    alone = {layer.name: search.difference(quantize([layer.name])) for layer in layers}
    costs = {layer.name: layer.multiply_adds for layer in layers}
    kept = [layer.name for layer in layers]
    reached: float | None = None
    while kept:
        reached = search.difference(quantize(kept)).psnr_db
        if reached >= budget_db + SEARCH_MARGIN_DB:
            break
        worst = max(kept, key=lambda name: alone[name].mean_squared_error / costs[name])
        say(
            f"int8: {reached:.1f} dB with {len(kept)} layers in 8 bits; {worst} stays in float32 "
            f"({alone[worst].psnr_db:.1f} dB alone)"
        )
        kept.remove(worst)
        reached = None
    total = sum(costs.values())
    effects = tuple(
        LayerEffect(
            name=name,
            share_of_multiply_adds=costs[name] / total,
            mean_squared_error=difference.mean_squared_error,
            psnr_db=difference.psnr_db,
            quantized=name in kept,
        )
        for name, difference in alone.items()
    )
    return Choice(effects=effects, psnr_db=reached, num_images=num_images)


def _levels(session: Any, draw: Draw) -> NDArray[np.uint8]:
    return to_uint8(draw_images(session, draw))
