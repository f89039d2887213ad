"""A report says what the results say: against hand-made sums, and as files that stand by themselves."""

import dataclasses
import html.parser
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sngan_train.errors import TrainError
from sngan_train.study.cell import Cell, CellResult, result_path
from sngan_train.study.document import Heading, Paragraph, Picture, Table, as_html, as_markdown
from sngan_train.study.grids import STUDIES, Options, cells_of
from sngan_train.study.report import write_report
from sngan_train.study.scales import SCALES
from sngan_train.study.summary import (
    difference_from_paper,
    grouped,
    headline_of,
    paired_against,
    published_scores,
    robustness,
)

TINY = SCALES["tiny"]


def record(value: float, agreement: float = 0.3, **extractor: object) -> dict[str, Any]:
    return {
        "schema": "sngan-metrics/1",
        "step": 1000,
        "headline": "KD(efficientnet-lite0)",
        "values": {"KD(efficientnet-lite0)": value, "class agreement": agreement},
        "protocol": {"name": "quick", "real_split": "train", "fake_images": 2000},
        "extractor": {
            "name": "efficientnet-lite0",
            "input_size": 96,
            "precision": "float32",
            "weights_sha256": "ab" * 32,
            **extractor,
        },
        "real": {"origin": "photos", "images": 5000, "image_shape": [3, 16, 16], "sha256": "cd"},
        "generator": {"kind": "run", "weights": "ema"},
        "seed": 0,
    }


def result(cell: Cell, value: float, **fields: Any) -> CellResult:
    layers = {
        "convs.0": {"singular_values": [1.0, 0.5, 0.25], "effective_rank": 2.4},
        "linear": {"singular_values": [1.0], "effective_rank": 1.0},
    }
    made: dict[str, Any] = {
        "name": cell.name,
        "axes": cell.axes,
        "fingerprint": cell.fingerprint,
        "published": cell.published,
        "status": "done",
        "record": record(value),
        "spectrum": layers,
        "train_seconds": 90.0,
        "evaluate_seconds": 10.0,
        "environment": {"processor": "a processor", "cores": 2, "threads": 1, "torch": "2", "sngan": "0", "date": "d"},
    }
    return CellResult(**{**made, **fields})


def study_results(name: str, **options: Any) -> list[CellResult]:
    """A value a cell: its place in the grid; spectral norm is always 0.5 better."""
    cells = cells_of(STUDIES[name], TINY, Options(**options))
    return [result(cell, number - 0.5 * (cell.axes.get("method") == "sn")) for number, cell in enumerate(cells)]


@pytest.mark.parametrize("name", [name for name in STUDIES if name != "cost"])
def test_every_study_has_a_report_that_stands_by_itself(name: str, tmp_path: Path) -> None:
    results = study_results(name)
    results[0] = dataclasses.replace(results[0], status="diverged", reason="step 3: NaN", record=None, spectrum=None)
    results[-1] = dataclasses.replace(results[-1], status="missing", reason="", record=None, spectrum=None)
    results = [dataclasses.replace(one, curve=[[50, 2.0], [100, 1.0]]) for one in results]
    markdown = write_report(tmp_path, STUDIES[name], TINY, Options(), results, tmp_path / name)
    text = markdown.read_text()
    assert STUDIES[name].claim in text
    assert "1 diverged, 1 missing" in text
    assert "step 3: NaN" in text
    assert "not comparable" in text or "no published value" in text or name in ("spectra",)
    pictures = [line.partition("](")[2].rstrip(")") for line in text.splitlines() if line.startswith("![")]
    assert pictures
    for picture in pictures:
        with Image.open(tmp_path / name / picture) as image:
            assert image.size[0] > 300
    seen = _Seen()
    seen.feed((tmp_path / name / "report.html").read_text())
    assert len(seen.sources) == len(pictures)
    assert all(source.startswith("data:image/png;base64,") for source in seen.sources)
    assert not seen.scripts


class _Seen(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.scripts = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.sources += [value or "" for key, value in attrs if key in ("src", "href")]
        self.scripts += tag == "script"


def test_costs_have_a_report(tmp_path: Path) -> None:
    cell = cells_of(STUDIES["cost"], TINY, Options())[0]
    cost = {
        name: {"median": m, "lower": m - 0.1, "upper": m + 0.1, "count": 15} for name, m in (("none", 1), ("sn", 1.2))
    }
    one = result(cell, 0.0, record=None, cost=cost)
    text = write_report(tmp_path, STUDIES["cost"], TINY, Options(), [one], tmp_path / "cost").read_text()
    assert "| sn | 1.20 | 1.10 to 1.30 | 15 |" in text


def test_means_and_spreads_are_over_seeds() -> None:
    cells = cells_of(STUDIES["settings"], TINY, Options(methods=("sn",), settings=("A",)))
    results = [result(cells[0], 1.0), result(cells[1], 2.0)]
    group = grouped(results, ("method", "setting"))["sn", "A"]
    metric = "KD(efficientnet-lite0)"
    assert (group.mean(metric), group.spread(metric)) == (1.5, statistics.stdev([1.0, 2.0]))
    assert group.words(metric) == "1.500 ± 0.707"
    half = grouped([results[0], dataclasses.replace(results[1], status="diverged", record=None)], ("method",))["sn",]
    assert half.words(metric) == "1.000, 1 diverged"


def test_robustness_and_pairs_by_hand() -> None:
    options = Options(methods=("sn", "wgan-gp"), seeds=1)
    values = {"sn": dict(zip("ABCDEF", (1, 2, 3, 4, 5, 6), strict=True)), "wgan-gp": dict.fromkeys("ABCDEF", 7.0)}
    results = [
        result(cell, float(values[cell.axes["method"]][cell.axes["setting"]]))
        for cell in cells_of(STUDIES["settings"], TINY, options)
    ]
    metric = "KD(efficientnet-lite0)"
    summary = robustness(results, metric, smaller_is_better=True)
    assert summary["sn"] == {"mean, A to C": 2.0, "worst, A to C": 3.0, "mean, D to F": 5.0, "worst, D to F": 6.0}
    mean, error, pairs = paired_against(results, metric, "sn", ("D", "E", "F"))["wgan-gp"]
    assert (mean, pairs) == (2.0, 3)
    assert error == pytest.approx(np.std([3, 2, 1], ddof=1) / np.sqrt(3))


def test_unlike_cells_do_not_stand_in_one_table() -> None:
    results = study_results("settings", methods=("sn",), seeds=1)
    assert headline_of(results) == "KD(efficientnet-lite0)"
    results[2] = dataclasses.replace(results[2], record=record(1.0, precision="bfloat16"))
    with pytest.raises(TrainError, match=r"extractor\.precision: float32 and bfloat16"):
        headline_of(results)
    assert headline_of([]) is None


def test_a_difference_from_the_paper_wants_the_papers_protocol() -> None:
    cell = cells_of(STUDIES["settings"], TINY, Options(methods=("sn",)))[0]
    assert published_scores(cell.published) == {"IS": (7.42, 0.08), "FID": (29.3, None)}
    assert "not comparable (KD(efficientnet-lite0), protocol quick, 16 pixels" in difference_from_paper(
        result(cell, 1.0), "tiny"
    )
    fair = record(0.0, name="inception")
    fair["protocol"] = {**fair["protocol"], "name": "paper"}
    fair["values"] = {"FID": 31.0}
    assert difference_from_paper(result(cell, 0.0, record=fair), "paper") == "+1.7"
    assert "not comparable" in difference_from_paper(result(cell, 0.0, record=fair), "small")
    assert difference_from_paper(result(dataclasses.replace(cell, published=""), 1.0), "paper") == "no published value"


def test_names_are_escaped(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "p.png")
    blocks = [Heading(1, "<b>"), Paragraph("a & b"), Table(["x|y"], [["<script>"]]), Picture("p.png", '"quoted"')]
    page = as_html(blocks, tmp_path, "<title>")
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "a &amp; b" in page
    assert 'alt="&quot;quoted&quot;"' in page
    assert as_markdown(blocks[2:3]) == "| x\\|y |\n|---|\n| <script> |\n"


def test_samples_are_shown_from_beside_the_cells(tmp_path: Path) -> None:
    (one,) = study_results("settings", methods=("sn",), settings=("A",), seeds=1)
    picture = result_path(tmp_path, one.name).with_suffix(".png")
    picture.parent.mkdir(parents=True)
    Image.new("RGB", (400, 40)).save(picture)
    one = dataclasses.replace(one, sample=picture.name)
    text = write_report(tmp_path, STUDIES["settings"], TINY, Options(), [one], tmp_path / "settings").read_text()
    assert "![method sn, setting A, seed 0](../cells/cifar10-cnn/sn/A/seed-0.png)" in text
