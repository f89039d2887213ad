"""The losses of a run as one picture, drawn with Pillow: to be looked at without any service."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT = 800, 400  # pixels
LEFT, RIGHT, TOP, BOTTOM = 60, 20, 30, 30  # margins around the plot
OVERSAMPLING = 2  # Pillow's lines have hard edges; drawn larger and reduced they are smooth
TICKS = 5  # about
CURVES = {"discriminator_loss": "#1f5fbf", "generator_loss": "#d9541e"}


def write_losses(records: Sequence[Mapping[str, Any]], path: Path) -> Path | None:
    """Draw the losses in `records` (those of `stats.jsonl`) to `path`, whole or not at all; None without any.

    Where there are more records than pixels, a point is the mean of the records it stands for.
    """
    records = [record for record in records if all(name in record for name in CURVES)]
    if not records:
        return None
    steps = np.array([record["step"] for record in records], dtype=float)
    curves = {name: np.array([record[name] for record in records], dtype=float) for name in CURVES}
    groups = np.array_split(np.arange(len(steps)), min(len(steps), WIDTH - LEFT - RIGHT))
    steps = np.array([steps[group].mean() for group in groups])
    curves = {name: np.array([values[group].mean() for group in groups]) for name, values in curves.items()}
    partial = path.with_name(f".{path.name}.partial")
    _plot(steps, curves).save(partial, format="PNG")
    partial.replace(path)
    return path


def ticks(low: float, high: float) -> list[float]:
    """About five round numbers in [low, high], for low < high."""
    rough = (high - low) / TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    distance = power * min((1, 2, 5, 10), key=lambda factor: abs(factor * power - rough))
    return [distance * i for i in range(math.ceil(low / distance), math.floor(high / distance) + 1)]


def _plot(steps: np.ndarray[Any, Any], curves: Mapping[str, np.ndarray[Any, Any]]) -> Image.Image:
    x_low, x_high = _range(steps)
    y_low, y_high = _range(np.concatenate(list(curves.values())))
    image = Image.new("RGB", (WIDTH * OVERSAMPLING, HEIGHT * OVERSAMPLING), "white")
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(12 * OVERSAMPLING)

    def at(step: float, value: float) -> tuple[float, float]:
        x = LEFT + (step - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT)
        y = HEIGHT - BOTTOM - (value - y_low) / (y_high - y_low) * (HEIGHT - TOP - BOTTOM)
        return x * OVERSAMPLING, y * OVERSAMPLING

    gap = 5 * OVERSAMPLING
    for value in ticks(y_low, y_high):
        draw.line([at(x_low, value), at(x_high, value)], "#dddddd", OVERSAMPLING)
        x, y = at(x_low, value)
        draw.text((x - gap, y), f"{value:g}", "black", font, anchor="rm")
    for step in ticks(x_low, x_high):
        x, y = at(step, y_low)
        draw.text((x, y + gap), f"{step:,.0f}", "black", font, anchor="mt")
    x = float(LEFT * OVERSAMPLING)
    for name, color in CURVES.items():
        draw.line([at(*point) for point in zip(steps, curves[name], strict=True)], color, 2 * OVERSAMPLING, "curve")
        label = name.replace("_", " ")
        draw.text((x, gap), label, color, font)
        x += draw.textlength(label, font) + 4 * gap
    return image.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)


def _range(values: np.ndarray[Any, Any]) -> tuple[float, float]:
    """The least and the greatest, apart even if all are one."""
    low, high = float(values.min()), float(values.max())
    return (low, high) if high > low else (low - 0.5, high + 0.5)
