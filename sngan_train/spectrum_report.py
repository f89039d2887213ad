"""Measured spectra as two CSVs, as values for JSON, and as a table to read."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sngan_train.errors import TrainError
from sngan_train.operator_norm import OperatorNorm
from sngan_train.spectrum import LayerSpectrum

SCHEMA = "sngan-spectrum/1"
NOTHING = "–"  # in a table


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class MeasuredLayer:
    """One layer of one network of one run.

    Attributes:
        run: the label that the run goes by.
        network: discriminator, generator or generator-ema.
        kind: Linear, Embedding, Convolution or TransposedConvolution, with its resampling if it carries one.
        weight_shape: as stored.
        matrix_shape: (outputs, everything else), as which the weight is decomposed.
        sigma_source: "u, v" or "stored" (the averaged generator's); empty without spectral norm.
        operator: None where it was not measured, and of an embedding.
    """

    run: str
    step: int
    network: str
    layer: str
    kind: str
    weight_shape: tuple[int, ...]
    matrix_shape: tuple[int, int]
    sigma_source: str
    spectrum: LayerSpectrum
    operator: OperatorNorm | None

    @property
    def operator_ratio(self) -> float | None:
        """‖conv‖ / σ of the reshaped kernel, 1 for a linear layer; None where unmeasured or of a zero weight."""
        if self.operator is None or self.spectrum.reshaped_norm == 0.0:
            return None
        return self.operator.convolution_norm / self.spectrum.reshaped_norm

    def facts(self) -> dict[str, Any]:
        """The row of layers.csv: plain values, None where there is none."""
        spectrum, operator = self.spectrum, self.operator
        return {
            "run": self.run,
            "step": self.step,
            "network": self.network,
            "layer": self.layer,
            "kind": self.kind,
            "weight_shape": "x".join(map(str, self.weight_shape)),
            "matrix_rows": self.matrix_shape[0],
            "matrix_columns": self.matrix_shape[1],
            "sigma_source": self.sigma_source,
            "sigma": spectrum.sigma if self.sigma_source else None,
            "sigma_svd": spectrum.exact_sigma,
            "lag": spectrum.lag,
            "effective_rank": spectrum.effective_rank,
            "num_singular_values": len(spectrum.singular_values),
            "frobenius_norm": spectrum.frobenius_norm,
            "reshaped_norm": spectrum.reshaped_norm,
            "input_shape": "x".join(map(str, operator.input_shape)) if operator else None,
            "convolution_norm": operator.convolution_norm if operator else None,
            "operator_ratio": self.operator_ratio,
            "layer_norm": operator.layer_norm if operator else None,
        }


def write_tables(layers: Sequence[MeasuredLayer], folder: Path) -> list[Path]:
    """`spectrum.csv`, a row a singular value, and `layers.csv`, a row a layer; gives their paths.

    Whole or not at all; TrainError if they cannot be written.
    """
    values = [
        {
            "run": layer.run,
            "step": layer.step,
            "network": layer.network,
            "layer": layer.layer,
            "index": index,
            "singular_value": float(value),
            "relative_square": float(square),
        }
        for layer in layers
        for index, (value, square) in enumerate(
            zip(layer.spectrum.singular_values, layer.spectrum.relative_squares, strict=True), start=1
        )
    ]
    return [
        write_whole(folder / "spectrum.csv", _csv(values).encode()),
        write_whole(folder / "layers.csv", _csv([layer.facts() for layer in layers]).encode()),
    ]


def as_values(layers: Sequence[MeasuredLayer], files: Sequence[Path]) -> dict[str, Any]:
    """Plain values for JSON: `files`, and for each of `layers` its row of layers.csv and all singular values."""
    return {
        "schema": SCHEMA,
        "files": [str(path) for path in files],
        "layers": [
            layer.facts() | {"singular_values": [float(value) for value in layer.spectrum.singular_values]}
            for layer in layers
        ],
    }


def as_text(layers: Sequence[MeasuredLayer]) -> str:
    """A table of the layers of one network of one run, and what is not to be concluded from it.

    Columns that say nothing of this network are left out.
    """
    first = layers[0]
    sigma = "σ stored" if first.sigma_source == "stored" else "σ by u, v"
    rows = [("layer", "weight", sigma, "σ by SVD", "lag", "effective rank", "‖W̄‖", "‖conv‖", "‖conv‖/‖W̄‖")]
    for layer in layers:
        spectrum, operator = layer.spectrum, layer.operator
        rows.append(
            (
                layer.layer,
                "×".join(map(str, layer.weight_shape)),
                _number(spectrum.sigma if layer.sigma_source else None),
                _number(spectrum.exact_sigma),
                NOTHING if spectrum.lag is None else f"{100.0 * spectrum.lag:.3f} %",
                f"{spectrum.effective_rank:.1f} of {len(spectrum.singular_values)}",
                _number(spectrum.reshaped_norm),
                _number(operator.convolution_norm if operator else None),
                NOTHING if layer.operator_ratio is None else f"{layer.operator_ratio:.2f}",
            )
        )
    lines = [f"{first.run}, step {first.step}, {first.network}", *_aligned(rows)]
    ratios = {layer.layer: layer.operator_ratio for layer in layers if layer.operator_ratio is not None}
    if ratios:
        largest = max(ratios, key=lambda name: ratios[name])
        lines.append(
            f"{largest} itself stretches up to {ratios[largest]:.2f} times as much as ‖W̄‖ says: "
            "the product of σ is not the network's Lipschitz constant (docs/spectrum.md)"
        )
    return "\n".join(lines)


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns under one another, two to the left and the others to the right; without those of nothing."""
    columns = [column for column in zip(*rows, strict=True) if set(column[1:]) != {NOTHING}]
    aligned = []
    for number, column in enumerate(columns):
        width = max(_width(cell) for cell in column)
        pads = [" " * (width - _width(cell)) for cell in column]
        aligned.append([cell + pad if number < 2 else pad + cell for cell, pad in zip(column, pads, strict=True)])
    return ["  ".join(row).rstrip() for row in zip(*aligned, strict=True)]


def _width(text: str) -> int:
    """Columns of a terminal: W̄ is a W with a combining macron."""
    return sum(not unicodedata.combining(letter) for letter in text)


def _number(value: float | None) -> str:
    return NOTHING if value is None else f"{value:#.4g}"


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """None is an empty field; a number is as exact as Python prints it."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def write_whole(path: Path, content: bytes) -> Path:
    """Write beside `path`, then rename, so that nobody reads half a file; gives `path`. TrainError if it cannot be."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise TrainError(f"{path}: cannot be written ({error.strerror}); give another folder with -o") from error
    return path
