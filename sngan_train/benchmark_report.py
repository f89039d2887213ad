"""The figures of `sngan bench train` as text and as plain values."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from sngan_train.benchmark import MIMICRY, Comparison, Plan
from sngan_train.interleaving import Spread

SCHEMA = "sngan-bench-train/1"


def as_values(plan: Plan, machine: Mapping[str, Any], comparisons: Sequence[Comparison]) -> dict[str, Any]:
    """Nested plain values for JSON; `seconds` holds every single time, a list a contender, by round."""
    return {
        "schema": SCHEMA,
        "machine": dict(machine),
        "config": plan.config.to_dict(),
        "comparisons": [
            {
                "title": comparison.title,
                "baseline": comparison.baseline,
                "contenders": {
                    name: {
                        "images_per_second": comparison.images_per_second(name),
                        "seconds_median": comparison.timings.spread(name).median,
                        "speed_up": dataclasses.asdict(comparison.speed_up(name)),
                        "cost": dataclasses.asdict(comparison.cost(name)),
                        "first_call_seconds": comparison.warm_ups[name].first_s,
                        "seconds": list(seconds),
                    }
                    for name, seconds in comparison.timings.seconds.items()
                },
            }
            for comparison in comparisons
        ],
    }


def as_text(plan: Plan, machine: Mapping[str, Any], comparisons: Sequence[Comparison]) -> str:
    """A few tables, and what they compare."""
    config, facts = plan.config, machine
    generator, discriminator = config.generator, config.discriminator
    lines = [
        f"{facts['processor']}, {facts['cores']} cores, {facts['threads']} threads, load {facts['load_average']} "
        f"at the start; torch {facts['torch']}, Python {facts['python']}, {facts['system']}; {facts['date']}",
        f"{config.preset}: G {generator.network} {generator.channels}, D {discriminator.network} "
        f"{discriminator.channels}, {config.data.image_size} pixels, batch {config.training.batch_size} "
        f"(G: ×{config.training.generator_batch_multiple}), {config.optimizer.critic_steps} critic steps",
    ]
    for comparison in comparisons:
        iterations = comparison.title.startswith("whole")
        rounds = len(next(iter(comparison.timings.seconds.values())))
        measure = f"times as fast as {comparison.baseline}" if iterations else f"time, {comparison.baseline} = 1"
        lines += ["", f"{comparison.title}: median of {rounds} rounds (quartiles)", ""]
        rows = [("", "images/s", "seconds", measure, "first call, s")]
        for name in comparison.timings.seconds:
            spread = comparison.speed_up(name) if iterations else comparison.cost(name)
            rows.append(
                (
                    name,
                    f"{comparison.images_per_second(name):.1f}",
                    f"{comparison.timings.spread(name).median:.4g}",
                    "1" if name == comparison.baseline else _spread(spread, digits=2 if iterations else 3),
                    f"{comparison.warm_ups[name].first_s:.1f}",
                )
            )
        lines += _table(rows)
        if comparison.baseline == MIMICRY:
            lines += [
                "",
                "Both have the same widths, batch and critic steps, and a generator update of one batch, which is",
                "torch-mimicry's own. Ours also keeps a running average and, if the preset says so, normalises the",
                "generator; torch-mimicry is float32, eager and NCHW, as it comes.",
            ]
    return "\n".join(lines)


def _spread(spread: Spread, digits: int) -> str:
    return f"{spread.median:.{digits}f} ({spread.lower:.{digits}f} to {spread.upper:.{digits}f})"


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns under one another, the first to the left and the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
