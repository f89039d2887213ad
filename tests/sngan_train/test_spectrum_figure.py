import io
import sys

import numpy as np
import pytest
from PIL import Image

from sngan_train.errors import ConfigError
from sngan_train.spectrum import LayerSpectrum
from sngan_train.spectrum_figure import COLORS, draw, figure_png
from sngan_train.spectrum_report import MeasuredLayer

pytest.importorskip("matplotlib")


def layer(run: str, name: str, *values: float, step: int = 70) -> MeasuredLayer:
    return MeasuredLayer(
        run=run,
        step=step,
        network="generator",
        layer=name,
        kind="Linear",
        weight_shape=(len(values), 9),
        matrix_shape=(len(values), 9),
        sigma_source="",
        spectrum=LayerSpectrum(sigma=values[0], exact_sigma=None, singular_values=np.array(values)),
        operator=None,
    )


TWO_RUNS = [
    layer("a", "first", 2.0, 1.0),
    layer("a", "second", 1.0, 0.5, 0.1),
    layer("a", "head", 1.0),
    layer("b", "first", 5.0, 5.0),
    layer("b", "third", 1.0, 0.0, step=90),
    layer("b", "head", 4.0),
]


def test_a_panel_a_layer_and_a_line_a_run() -> None:
    figure = draw(TWO_RUNS)
    panels = [axis for axis in figure.axes if axis.get_visible()]
    assert [axis.get_title() for axis in panels] == ["first  (2 × 9)", "second  (3 × 9)", "third  (2 × 9)"]
    first = {line.get_label(): line for line in panels[0].get_lines()}
    assert first["a"].get_xdata().tolist() == [1, 2]
    assert first["a"].get_ydata().tolist() == [1.0, 0.25]
    assert first["b"].get_ydata().tolist() == [1.0, 1.0]
    assert [first[run].get_color() for run in "ab"] == list(COLORS[:2])
    (third,) = panels[2].get_lines()
    assert (third.get_label(), third.get_color()) == ("b", COLORS[1])  # a run has one colour in every panel
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]
    assert figure.get_suptitle() == "Squared singular values, generator, steps 70 to 90"
    assert figure.get_supxlabel() == "index of the singular value; not shown, with one singular value: head"


@pytest.mark.parametrize("layers", [TWO_RUNS, [layer("a", "head", 1.0)], [layer("a", "zero", 0.0, 0.0)]])
def test_the_picture_is_a_png_with_something_on_it(layers: list[MeasuredLayer]) -> None:
    with Image.open(io.BytesIO(figure_png(layers))) as image:
        assert image.format == "PNG"
        assert image.width >= 2 * 2.9 * 130 - 1
        assert np.asarray(image.convert("L")).min() < 100


def test_more_runs_than_colours_and_long_labels_fit() -> None:
    runs = [f"runs/one-of-many-runs-with-a-long-name/{number}" for number in range(9)]
    figure = draw([layer(run, "first", 2.0, 1.0) for run in runs])
    lines = figure.axes[0].get_lines()
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 9
    figure.draw_without_rendering()
    box, whole = figure.legends[0].get_window_extent(), figure.bbox
    assert whole.x0 <= box.x0
    assert box.x1 <= whole.x1
    assert box.y0 >= figure.axes[0].get_tightbbox().y1  # above the panels


def test_without_matplotlib_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ConfigError, match=r"needs matplotlib: `pip install 'sngan\[evaluate\]'`"):
        figure_png(TWO_RUNS)
