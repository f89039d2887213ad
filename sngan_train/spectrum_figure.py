"""The spectra of runs beside each other, as in the paper's figure 3: a panel a layer, a line a run.

Squared singular values over the largest, so that a weight that is twice another has the same curve.
Source: Miyato et al. 2018, section 4.1.1 and figure 3.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sngan_train.errors import ConfigError
from sngan_train.spectrum_report import MeasuredLayer

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito's palette, which people with any usual colour vision tell apart; the dashes change when it starts again.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", ":", "-.")
MAX_COLUMNS = 4  # of panels
PANEL_INCHES = (2.9, 2.3)
DOTS_PER_INCH = 130
LETTER_INCHES = 0.085  # of the legend's font, on the wide side
LEGEND_LETTERS = 7  # the room that an entry's line and the gap to the next one take


def figure_png(layers: Sequence[MeasuredLayer]) -> bytes:
    """The figure of one network's `layers`, those of several runs one after the other, as a PNG file.

    A layer with a single singular value in every run has no panel. Raises ConfigError without matplotlib.
    """
    picture = io.BytesIO()
    draw(layers).savefig(picture, format="png", dpi=DOTS_PER_INCH)
    return picture.getvalue()


def draw(layers: Sequence[MeasuredLayer]) -> Figure:
    """The same as matplotlib's object: an axis a panel, in the order of the layers, whose lines are labelled by run."""
    try:
        from matplotlib.figure import Figure  # without pyplot: no global state, no window
    except ModuleNotFoundError as error:
        raise ConfigError("the figure needs matplotlib: `pip install 'sngan[evaluate]'`") from error

    runs = list(dict.fromkeys(layer.run for layer in layers))
    panels: dict[str, list[MeasuredLayer]] = {}
    for layer in layers:
        panels.setdefault(layer.layer, []).append(layer)
    single = [name for name, members in panels.items() if all(len(m.spectrum.singular_values) == 1 for m in members)]
    shown = {name: members for name, members in panels.items() if name not in single} or panels

    columns = min(MAX_COLUMNS, len(shown))
    rows = math.ceil(len(shown) / columns)
    width = max(columns, 2) * PANEL_INCHES[0]  # a single column would cut the title short
    entry = (max(map(len, runs)) + LEGEND_LETTERS) * LETTER_INCHES
    legend_columns = max(1, min(len(runs), int(width / entry)))
    header = 0.5 + 0.22 * math.ceil(len(runs) / legend_columns)  # inches, for the title and the legend
    size = (width, rows * PANEL_INCHES[1] + header + 0.3)
    figure = Figure(figsize=size, layout="constrained")
    figure.get_layout_engine().set(rect=(0.0, 0.0, 1.0, 1.0 - header / size[1]))  # type: ignore[union-attr, call-arg]
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
    styles = {
        run: {"color": COLORS[i % len(COLORS)], "linestyle": DASHES[i // len(COLORS) % len(DASHES)]}
        for i, run in enumerate(runs)
    }
    axes = list(grid.flat)
    for axis, (name, members) in zip(axes, shown.items(), strict=False):
        _draw_panel(axis, name, members, styles)
    for axis in axes[len(shown) :]:
        axis.set_visible(False)
    for row in range(rows):
        grid[row][0].set_ylabel("s² / largest s²")

    steps = sorted({layer.step for layer in layers})
    when = f"step {steps[0]:,}" if len(steps) == 1 else f"steps {steps[0]:,} to {steps[-1]:,}"
    top = 1.0 - 0.12 / size[1]
    figure.suptitle(f"Squared singular values, {layers[0].network}, {when}", y=top, va="top", fontsize=12)
    by_run = {line.get_label(): line for axis in axes for line in axis.get_lines()}
    figure.legend(
        [by_run[run] for run in runs if run in by_run],
        [run for run in runs if run in by_run],
        loc="upper center",
        bbox_to_anchor=(0.5, 1.0 - 0.36 / size[1]),
        borderaxespad=0.0,
        ncols=legend_columns,
        frameon=False,
    )
    note = f"; not shown, with one singular value: {', '.join(single)}" if len(shown) < len(panels) else ""
    figure.supxlabel(f"index of the singular value{note}", fontsize=9)
    return figure


def _draw_panel(
    axis: Axes, name: str, members: Sequence[MeasuredLayer], styles: Mapping[str, Mapping[str, Any]]
) -> None:
    shapes = dict.fromkeys(member.matrix_shape for member in members)
    matrix = " or ".join(f"{rows} × {columns}" for rows, columns in list(shapes)[:2])
    axis.set_title(f"{name}  ({matrix}{', …' if len(shapes) > 2 else ''})", fontsize=9)
    for member in members:
        squares = member.spectrum.relative_squares
        marker = "o" if len(squares) == 1 else ""  # a line of one point would be invisible
        axis.plot(
            range(1, len(squares) + 1), squares, label=member.run, linewidth=1.6, marker=marker, **styles[member.run]
        )
    longest = max(len(member.spectrum.singular_values) for member in members)
    axis.set_xlim(0.5 if longest == 1 else 1, max(longest, 1.5))
    axis.set_ylim(0.0, 1.03)
    axis.locator_params(axis="x", integer=True, nbins=5)
    axis.tick_params(labelsize=8)
    axis.grid(visible=True, color="#e5e5e5", linewidth=0.6)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
