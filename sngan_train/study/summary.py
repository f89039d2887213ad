"""Results of a study over seeds: means, spreads, and what may be said against the paper's numbers."""

from __future__ import annotations

import dataclasses
import re
import statistics
from collections.abc import Mapping, Sequence

from sngan_train.errors import TrainError
from sngan_train.metrics.record import MetricRecord, differences
from sngan_train.study.cell import CellResult

CLASS_AGREEMENT = "class agreement"
PUBLISHED_SCORE = re.compile(r"\b(IS|FID) ([0-9.]+)(?:±([0-9.]+))?")
PAPER_PROTOCOL, PAPER_EXTRACTOR = "paper", "inception"
AGGRESSIVE, GENTLE = ("D", "E", "F"), ("A", "B", "C")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """The seeds of one place in the grid.

    Attributes:
        results: of all its cells, finished or not.
    """

    results: tuple[CellResult, ...]

    def values(self, metric: str) -> list[float]:
        """Of the cells that have it, by seed."""
        found = [result.value(metric) for result in self.results]
        return [value for value in found if value is not None]

    def mean(self, metric: str) -> float | None:
        """Over seeds; None if no cell has it."""
        values = self.values(metric)
        return statistics.mean(values) if values else None

    def spread(self, metric: str) -> float | None:
        """The standard deviation over seeds; None of fewer than two."""
        values = self.values(metric)
        return statistics.stdev(values) if len(values) > 1 else None

    def count(self, status: str) -> int:
        """Cells that ended so."""
        return sum(result.status == status for result in self.results)

    def words(self, metric: str, digits: int = 3) -> str:
        """Mean ± spread, and what happened to seeds that have no value."""
        mean, spread = self.mean(metric), self.spread(metric)
        parts = []
        if mean is not None:
            parts.append(f"{mean:.{digits}f}" + (f" ± {spread:.{digits}f}" if spread is not None else ""))
        for status in ("diverged", "failed", "missing"):
            if self.count(status):
                parts.append(f"{self.count(status)} {status}")
        return ", ".join(parts) or "–"


def grouped(results: Sequence[CellResult], axes: Sequence[str]) -> dict[tuple[str, ...], Group]:
    """The results by their values on `axes`, in the order in which they come."""
    groups: dict[tuple[str, ...], list[CellResult]] = {}
    for result in results:
        groups.setdefault(tuple(result.axes.get(axis, "") for axis in axes), []).append(result)
    return {key: Group(results=tuple(members)) for key, members in groups.items()}


def headline_of(results: Sequence[CellResult]) -> str | None:
    """The metric to judge by, after seeing that all were measured alike; None if none was measured.

    Raises:
        TrainError: two cells were measured in different ways.
    """
    measured = [
        (result.name, MetricRecord.from_dict(result.record, result.name)) for result in results if result.record
    ]
    for name, record in measured[1:]:
        apart = [
            text
            for text in differences(measured[0][1], record)
            if not text.startswith("real.")  # data sets differ along an axis of some studies
        ]
        if apart:
            raise TrainError(f"{measured[0][0]} and {name} were measured differently: {'; '.join(apart)}")
    return measured[0][1].headline if measured else None


def published_scores(text: str) -> dict[str, tuple[float, float | None]]:
    """The scores in a preset's words: {"IS": (7.42, 0.08), "FID": (29.3, None)}."""
    return {
        name: (float(value), float(spread) if spread else None) for name, value, spread in PUBLISHED_SCORE.findall(text)
    }


def difference_from_paper(result: CellResult, scale: str) -> str:
    """Ours less the paper's FID, or in words why there is no such number."""
    if not result.record:
        return "–"
    protocol, extractor = result.record["protocol"]["name"], result.record["extractor"]["name"]
    paper = published_scores(result.published).get("FID")
    if paper is None:
        return "no published value"
    if (scale, protocol, extractor) != ("paper", PAPER_PROTOCOL, PAPER_EXTRACTOR):
        size = result.record["real"]["image_shape"][-1]
        return f"not comparable ({result.record['headline']}, protocol {protocol}, {size} pixels, scale {scale})"
    value = result.record["values"].get("FID")
    return "–" if value is None else f"{value - paper[0]:+.1f}"


def robustness(results: Sequence[CellResult], metric: str, *, smaller_is_better: bool) -> dict[str, dict[str, float]]:
    """By method: mean over the gentle settings A to C, over the aggressive D to F, and the worst of these."""
    groups = grouped(results, ("method", "setting"))
    summary: dict[str, dict[str, float]] = {}
    for method in dict.fromkeys(key[0] for key in groups):
        row: dict[str, float] = {}
        for name, settings in (("A to C", GENTLE), ("D to F", AGGRESSIVE)):
            means = [groups[method, s].mean(metric) for s in settings if (method, s) in groups]
            known = [mean for mean in means if mean is not None]
            if known:
                row[f"mean, {name}"] = statistics.mean(known)
                row[f"worst, {name}"] = max(known) if smaller_is_better else min(known)
        summary[method] = row
    return summary


def paired_against(
    results: Sequence[CellResult], metric: str, method: str, settings: Sequence[str]
) -> Mapping[str, tuple[float, float | None, int]]:
    """By other method: mean over pairs (setting, seed) of other − `method`, its standard error, number of pairs."""
    by_key = {
        (result.axes["method"], result.axes["setting"], result.axes["seed"]): result.value(metric) for result in results
    }
    found = {}
    for other in dict.fromkeys(key[0] for key in by_key if key[0] != method):
        pairs = []
        for (name, setting, seed), value in by_key.items():
            ours = by_key.get((method, setting, seed))
            if name == other and setting in settings and value is not None and ours is not None:
                pairs.append(value - ours)
        if pairs:
            error = statistics.stdev(pairs) / len(pairs) ** 0.5 if len(pairs) > 1 else None
            found[other] = (statistics.mean(pairs), error, len(pairs))
    return found
