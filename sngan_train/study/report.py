"""The report of a study: what the paper says, what was found, how, at what cost; `report.md` and `report.html`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from sngan_train.study import figures
from sngan_train.study.cell import CellResult, result_path
from sngan_train.study.document import Block, Heading, Paragraph, Picture, Table, as_html, as_markdown
from sngan_train.study.grids import Options, Study
from sngan_train.study.scales import Scale
from sngan_train.study.summary import (
    AGGRESSIVE,
    CLASS_AGREEMENT,
    GENTLE,
    difference_from_paper,
    grouped,
    headline_of,
    paired_against,
    robustness,
)

SAMPLES = 12  # sample grids at most


def write_report(
    root: Path, study: Study, scale: Scale, options: Options, results: Sequence[CellResult], folder: Path
) -> Path:
    """Write both files and their pictures into `folder`; gives the Markdown file.

    Args:
        root: the study's folder, where the cells' pictures are.
        study: which.
        scale: at which the cells were run.
        options: with which.
        results: of all its cells; those that were never run have the status "missing".
        folder: is made if it is not there.

    Raises:
        ConfigError: matplotlib is missing.
        TrainError: two cells were measured in different ways.
    """
    headline = headline_of(results)
    folder.mkdir(parents=True, exist_ok=True)
    blocks: list[Block] = [
        Heading(1, study.title),
        Paragraph(f"{study.reference}. The paper's claim: {study.claim}."),
        Paragraph(_scale(scale, options)),
        *_findings(study, results, headline, folder),
        *_beside_the_paper(study, scale, results, headline),
        *_samples(root, results, folder),
        *_unfinished(results),
        Heading(2, "How it was measured, on what, and what it cost"),
        *_method(results),
    ]
    markdown, page = folder / "report.md", folder / "report.html"
    for path, text in ((page, as_html(blocks, folder, study.title)), (markdown, as_markdown(blocks))):
        partial = path.with_name(f".{path.name}.partial")
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    return markdown


def _scale(scale: Scale, options: Options) -> str:
    words = [f"Scale {scale.name}: {scale.words}."]
    if options.total_steps is not None:
        words.append(f"{options.total_steps:,} generator updates were asked for.")
    if options.conditional:
        words.append(
            "The networks are conditional (projection, conditional batch norm), which the paper's are not, so that "
            "class agreement can be measured."
        )
    return " ".join(words)


def _findings(study: Study, results: Sequence[CellResult], headline: str | None, folder: Path) -> list[Block]:
    """What the study is about, by its kind."""
    blocks: list[Block] = [Heading(2, "What was found")]
    if study.name == "cost":
        return blocks + _costs(results, folder)
    if headline is None:
        return [*blocks, Paragraph("No cell has been measured yet.")]
    if study.name == "spectra":
        return blocks + _spectra(results, folder)
    if study.name == "curve":
        return blocks + _curves(results, headline, folder)
    metrics = [(headline, True)]
    if any(result.value(CLASS_AGREEMENT) is not None for result in results):
        metrics.append((CLASS_AGREEMENT, False))
    for metric, smaller in metrics:
        better = "smaller" if smaller else "larger"
        blocks += [Heading(3, metric), _table(study, results, metric)]
        name = f"{metric.replace('(', '-').replace(')', '').replace(' ', '-').lower()}.png"
        draw = figures.lines if study.columns in ("width", "critic-steps") else figures.grouped_points
        draw(results, study.rows, study.columns, metric, folder / name, better=better)
        blocks.append(Picture(name, f"{metric}: mean over seeds, bars of one standard deviation, each seed a dot"))
        if study.name == "settings":
            blocks += _robustness(results, metric, smaller_is_better=smaller)
    return blocks


def _table(study: Study, results: Sequence[CellResult], metric: str) -> Table:
    groups = grouped(results, (study.rows, study.columns))
    rows = list(dict.fromkeys(key[0] for key in groups))
    columns = list(dict.fromkeys(key[1] for key in groups))
    body = [
        [row, *(groups[row, column].words(metric) if (row, column) in groups else "–" for column in columns)]
        for row in rows
    ]
    return Table([study.rows, *columns], body)


def _robustness(results: Sequence[CellResult], metric: str, *, smaller_is_better: bool) -> list[Block]:
    summary = robustness(results, metric, smaller_is_better=smaller_is_better)
    columns = ["mean, A to C", "worst, A to C", "mean, D to F", "worst, D to F"]
    body = [
        [method, *(f"{row[column]:.3f}" if column in row else "–" for column in columns)]
        for method, row in sorted(
            summary.items(),
            key=lambda item: item[1].get("mean, D to F", float("inf")) * (1 if smaller_is_better else -1),
        )
    ]
    blocks: list[Block] = [
        Paragraph("Over the settings, best mean in D to F first:"),
        Table(["method", *columns], body),
    ]
    sign = "positive: spectral norm is better" if smaller_is_better else "negative: spectral norm is better"
    pairs = [
        [other, *_pair(results, metric, other, GENTLE), *_pair(results, metric, other, AGGRESSIVE)]
        for other in summary
        if other != "sn"
    ]
    blocks += [
        Paragraph(f"The other method less spectral norm, over pairs of equal setting and seed ({sign}):"),
        Table(["method", "A to C", "pairs", "D to F", "pairs"], pairs),
    ]
    return blocks


def _pair(results: Sequence[CellResult], metric: str, other: str, settings: Sequence[str]) -> tuple[str, str]:
    found = paired_against(results, metric, "sn", settings).get(other)
    if found is None:
        return "–", "0"
    mean, error, count = found
    return f"{mean:+.3f}" + (f" ± {error:.3f} (standard error)" if error is not None else ""), str(count)


def _spectra(results: Sequence[CellResult], folder: Path) -> list[Block]:
    blocks: list[Block] = []
    for (setting,), group in grouped(results, ("setting",)).items():
        by_method = {key[0]: members for key, members in grouped(group.results, ("method",)).items()}
        name = f"spectra-{setting}.png"
        figures.spectra(by_method, folder / name)
        blocks.append(Picture(name, f"setting {setting}: squared singular values of the discriminator, a line a seed"))
        layers = next((list(result.spectrum) for result in group.results if result.spectrum), [])
        body = []
        for method, members in by_method.items():
            spectra = [result.spectrum for result in members.results if result.spectrum]
            cells = []
            for layer in layers:
                shares = [
                    spectrum[layer]["effective_rank"] / len(spectrum[layer]["singular_values"]) for spectrum in spectra
                ]
                cells.append(f"{sum(shares) / len(shares):.2f}" if shares else "–")
            body.append([method, *cells])
        blocks += [
            Paragraph("Effective rank as a share of the largest possible one, mean over seeds; 1 is a flat spectrum:"),
            Table(["method", *layers], body),
        ]
    return blocks


def _curves(results: Sequence[CellResult], headline: str, folder: Path) -> list[Block]:
    histories = {
        f"{result.axes['method']}{', seed ' + result.axes['seed'] if result.axes['seed'] != '0' else ''}": [
            (int(step), float(value)) for step, value in result.curve
        ]
        for result in results
        if result.curve
    }
    if not histories:
        return [Paragraph("No cell has been measured on its way.")]
    figures.curves(histories, headline, folder / "curve.png")
    return [Picture("curve.png", f"{headline} over the run, smaller is better")]


def _costs(results: Sequence[CellResult], folder: Path) -> list[Block]:
    blocks: list[Block] = []
    for result in results:
        if result.cost:
            name = f"cost-{result.axes['data']}.png"
            figures.costs(result.cost, folder / name)
            rows = [
                [method, f"{value['median']:.2f}", f"{value['lower']:.2f} to {value['upper']:.2f}", str(value["count"])]
                for method, value in result.cost.items()
            ]
            blocks += [
                Heading(3, result.axes["data"]),
                Table(["method", "time of an update, none = 1", "quartiles", "turns"], rows),
                Picture(name, f"{result.axes['data']}: all methods took turns in one process"),
            ]
    return blocks or [Paragraph("No cell has been measured yet.")]


def _beside_the_paper(study: Study, scale: Scale, results: Sequence[CellResult], headline: str | None) -> list[Block]:
    """The paper's value, ours, protocol and difference."""
    if headline is None or not any(result.published for result in results):
        return []
    body = []
    for key, group in grouped(results, (study.rows, study.columns)).items():
        result = next((one for one in group.results if one.record), group.results[0])
        protocol = result.record["protocol"]["name"] if result.record else "–"
        ours = f"{headline} {group.words(headline)}"
        body.append([*key, result.published or "–", ours, protocol, difference_from_paper(result, scale.name)])
    header = [study.rows, study.columns, "the paper", "ours", "protocol", "difference (FID)"]
    return [Heading(2, "Beside the paper's numbers"), Table(header, body)]


def _samples(root: Path, results: Sequence[CellResult], folder: Path) -> list[Block]:
    shown = [result for result in results if result.sample and result.axes.get("seed") == "0"]
    step = max(1, -(-len(shown) // SAMPLES))
    blocks: list[Block] = []
    for result in shown[::step]:
        path = result_path(root, result.name).parent / result.sample
        if path.exists():
            axes = ", ".join(f"{name} {value}" for name, value in result.axes.items())
            blocks.append(Picture(os.path.relpath(path, folder), axes))
    return [Heading(2, "Samples"), *blocks] if blocks else []


def _unfinished(results: Sequence[CellResult]) -> list[Block]:
    rows = [
        [result.name, result.status, result.reason or "not run yet"] for result in results if result.status != "done"
    ]
    return [Heading(2, "Cells without a value"), Table(["cell", "what happened", "why"], rows)] if rows else []


def _method(results: Sequence[CellResult]) -> list[Block]:
    counts = {
        status: sum(result.status == status for result in results)
        for status in ("done", "diverged", "failed", "missing")
    }
    hours = sum(result.train_seconds + result.evaluate_seconds for result in results) / 3600
    counted = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    blocks: list[Block] = [
        Paragraph(
            f"{len(results)} cells: {counted}. Together {hours:.1f} hours of one worker, training and evaluation."
        )
    ]
    measured = next((result.record for result in results if result.record), None)
    if measured:
        extractor, protocol = measured["extractor"], measured["protocol"]
        blocks.append(
            Paragraph(
                f"Protocol {protocol['name']}: {measured['real']['images']:,} real images ({protocol['real_split']}; "
                f"{measured['real']['origin']}), {protocol['fake_images']:,} generated, "
                f"{measured['generator']['weights']} weights, features of {extractor['name']} at "
                f"{extractor['input_size']} pixels in {extractor['precision']} "
                f"(weights {extractor['weights_sha256'][:12]})."
            )
        )
    machines = {
        tuple(
            str(result.environment.get(key, "?")) for key in ("processor", "cores", "threads", "torch", "sngan", "date")
        )
        for result in results
        if result.environment
    }
    if machines:
        header = ["processor", "cores", "threads a cell", "torch", "sngan", "date"]
        blocks.append(Table(header, [list(machine) for machine in sorted(machines)]))
    return blocks
