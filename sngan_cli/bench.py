"""`sngan bench`: the packages' benchmarks under one name."""

from __future__ import annotations

import typer

import export.bench_cli
import sngan_cli.bench_serve
import sngan_train.benchmark_cli

group = typer.Typer(no_args_is_help=True, help="Measure this machine: ratios from one run, with their spread.")
for part in (sngan_train.benchmark_cli, export.bench_cli, sngan_cli.bench_serve):
    group.add_typer(part.app)
app = typer.Typer()
app.add_typer(group, name="bench")
