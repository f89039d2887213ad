"""The pictures of a report, by matplotlib's Figure alone: no global state, no display."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sngan_train.errors import ConfigError
from sngan_train.study.cell import CellResult
from sngan_train.study.summary import Group, grouped

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe & Ito 2008: told apart by the colour-blind, too; the eighth is grey.
COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#0072B2", "#D55E00", "#000000", "#888888")
SPECTRAL_NORM_COLOUR = "#D55E00"
DPI = 120


def _figure(width: float, height: float) -> Figure:
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ConfigError(f"reports need {error.name}: `pip install 'sngan[evaluate]'`") from error
    return Figure(figsize=(width, height), dpi=DPI, layout="constrained")


def _save(figure: Figure, path: Path) -> Path:
    partial = path.with_name(f".{path.name}.partial")
    figure.savefig(partial, format="png")
    partial.replace(path)
    return path


def colours(names: Sequence[str]) -> dict[str, str]:
    """A colour a name, spectral norm always in the same one."""
    free = [colour for colour in COLOURS if colour != SPECTRAL_NORM_COLOUR]
    others = [name for name in names if name != "sn"]
    return {name: free[number % len(free)] for number, name in enumerate(others)} | {"sn": SPECTRAL_NORM_COLOUR}


def grouped_points(
    results: Sequence[CellResult], rows: str, columns: str, metric: str, path: Path, *, better: str
) -> Path:
    """A group a column, in it a point a row: the mean over seeds, bars of one deviation, and every seed by itself."""
    groups = grouped(results, (rows, columns))
    names = list(dict.fromkeys(key[0] for key in groups))
    places = list(dict.fromkeys(key[1] for key in groups))
    palette = colours(names)
    figure = _figure(max(6.0, 1.6 * len(places) + 2.5), 4.5)
    axes = figure.add_subplot()
    for number, name in enumerate(names):
        offset = (number - (len(names) - 1) / 2) * 0.8 / len(names)
        known: list[tuple[float, float, float]] = []
        for place, column in enumerate(places):
            group = groups.get((name, column))
            mean = group.mean(metric) if group else None
            if group and mean is not None:
                known.append((place + offset, mean, group.spread(metric) or 0.0))
                values = group.values(metric)
                axes.plot([place + offset] * len(values), values, ".", color=palette[name], alpha=0.5, markersize=4)
        if known:
            x, y, spread = zip(*known, strict=True)
            axes.errorbar(x, y, yerr=spread, fmt="o", color=palette[name], label=name, capsize=3, markersize=5)
    axes.set_xticks(range(len(places)), places)
    axes.set_xlabel(columns)
    axes.set_ylabel(f"{metric} ({better} is better)")
    axes.grid(axis="y", alpha=0.3)
    for boundary in range(1, len(places)):
        axes.axvline(boundary - 0.5, color="#dddddd", linewidth=0.8)
    figure.legend(loc="outside right upper", frameon=False)
    return _save(figure, path)


def lines(results: Sequence[CellResult], rows: str, x_axis: str, metric: str, path: Path, *, better: str) -> Path:
    """A line a row over a numeric axis, with bars over seeds."""
    groups = grouped(results, (rows, x_axis))
    names = list(dict.fromkeys(key[0] for key in groups))
    palette = colours(names)
    figure = _figure(6.5, 4.2)
    axes = figure.add_subplot()
    for name in names:
        points = sorted(
            (float(column), group.mean(metric), group.spread(metric) or 0.0)
            for (row, column), group in groups.items()
            if row == name and group.mean(metric) is not None
        )
        if points:
            x, y, spread = zip(*points, strict=True)
            axes.errorbar(x, y, yerr=spread, marker="o", capsize=3, color=palette[name], label=name)
    axes.set_xlabel(x_axis)
    axes.set_ylabel(f"{metric} ({better} is better)")
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False)
    return _save(figure, path)


def curves(histories: Mapping[str, Sequence[tuple[int, float]]], metric: str, path: Path) -> Path:
    """A line a run over its steps."""
    palette = colours(list(histories))
    figure = _figure(6.5, 4.2)
    axes = figure.add_subplot()
    for name, points in histories.items():
        axes.plot(
            [step for step, _ in points], [value for _, value in points], marker=".", color=palette[name], label=name
        )
    axes.set_xlabel("generator updates")
    axes.set_ylabel(metric)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return _save(figure, path)


def spectra(groups: Mapping[str, Group], path: Path) -> Path:
    """The paper's figure 3: a panel a layer, s² over the largest s² by index, a line a seed."""
    spectra_by_name = {
        name: [result.spectrum for result in group.results if result.spectrum] for name, group in groups.items()
    }
    first: Mapping[str, Any] = next((members[0] for members in spectra_by_name.values() if members), {})
    layers = [name for name, layer in first.items() if len(layer["singular_values"]) > 1]
    palette = colours(list(groups))
    columns = min(4, max(1, len(layers)))
    rows = -(-len(layers) // columns) or 1
    figure = _figure(3.0 * columns, 2.6 * rows + 0.4)
    handles: dict[str, Any] = {}
    for number, layer in enumerate(layers):
        axes = figure.add_subplot(rows, columns, number + 1)
        for name, members in spectra_by_name.items():
            for spectrum in members:
                values = spectrum[layer]["singular_values"]
                largest = values[0] or 1.0
                (handles[name],) = axes.plot(
                    range(1, len(values) + 1),
                    [(value / largest) ** 2 for value in values],
                    color=palette[name],
                    alpha=0.8,
                )
        axes.set_title(layer, fontsize=9)
        axes.set_ylim(-0.03, 1.05)
        axes.tick_params(labelsize=8)
    figure.supxlabel("index of the singular value", fontsize=9)
    figure.supylabel("s² / largest s²", fontsize=9)
    if handles:
        figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=len(handles), frameon=False)
    return _save(figure, path)


def costs(cost: Mapping[str, Mapping[str, float]], path: Path) -> Path:
    """A bar a method: time of a discriminator update relative to none, with quartiles."""
    names = list(cost)
    figure = _figure(7.0, 0.35 * len(names) + 1.2)
    axes = figure.add_subplot()
    medians = [cost[name]["median"] for name in names]
    low = [cost[name]["median"] - cost[name]["lower"] for name in names]
    high = [cost[name]["upper"] - cost[name]["median"] for name in names]
    axes.barh(names, medians, xerr=[low, high], color="#56B4E9", capsize=3)
    axes.axvline(1.0, color="#333333", linewidth=0.8)
    axes.invert_yaxis()
    axes.set_xlabel("time of a discriminator update, none = 1 (median, quartiles)")
    return _save(figure, path)
