"""`sngan bench train`. PyTorch is imported inside the command."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from sngan_train.config import parse_assignments
from sngan_train.errors import ConfigError
from sngan_train.presets import find_preset

app = typer.Typer()

QUICK_ROUNDS, QUICK_PAIRS = 2, 5


@app.command()
def train(
    preset: Annotated[str, typer.Option(help="Whose networks, batch and critic steps.")] = "cifar10",
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="As for train.")] = None,
    forms: Annotated[
        str | None,
        typer.Option(
            help="Forms of a whole iteration: plain, float32, float32-compiled, bfloat16, bfloat16-compiled, mimicry; "
            "empty for none.",
            show_default="all that this machine can run",
        ),
    ] = None,
    step_form: Annotated[
        str | None,
        typer.Option(
            help="Form of the discriminator updates, and of ours against mimicry.",
            show_default="the last of --forms beside mimicry",
        ),
    ] = None,
    normalizations: Annotated[bool, typer.Option(help="Compare every method, not spectral norm alone.")] = False,
    pairs: Annotated[int, typer.Option(min=2, help="Discriminator updates of each method.")] = 31,
    rounds: Annotated[int, typer.Option(min=2, help="Whole iterations of each form.")] = 9,
    quick: Annotated[bool, typer.Option(help=f"--pairs {QUICK_PAIRS} --rounds {QUICK_ROUNDS}: a first look.")] = False,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads for PyTorch.", show_default="its own choice")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with every single time.")] = False,
) -> None:
    """Time training: our forms against the plain one and against torch-mimicry, and what each normalization costs.

    All take turns in one run, so the ratios hold on a shared machine too. Minutes on small presets, an hour on cifar10.
    """
    config = find_preset(preset).override(parse_assignments(set_ or []))
    try:
        import torch

        from sngan_train import benchmark, benchmark_report
        from sngan_train.interleaving import device_clock
        from sngan_train.runtime import choose_device
    except ModuleNotFoundError as error:
        raise ConfigError(f"training needs {error.name}: `pip install 'sngan[train]'`") from error

    if threads is not None:
        torch.set_num_threads(threads)
    chosen = choose_device(device)
    possible, against = benchmark.possible_forms(config, chosen)
    names = possible if forms is None else [name.strip() for name in forms.split(",") if name.strip()]
    ours = [name for name in possible if name != benchmark.MIMICRY]
    step_form = step_form or ([name for name in names if name in ours] or ours)[-1]
    for option, name in [*(("--forms", name) for name in names), ("--step-form", step_form)]:
        if name in against:
            raise ConfigError(f"{option} {name}: {against[name]}")
        allowed = possible if option == "--forms" else ours
        if name not in allowed:
            raise ConfigError(f"{option} {name!r} is unknown; allowed: {', '.join(allowed)}")
    for name, reason in against.items():
        print(f"without {name}: {reason}", file=sys.stderr)
    plan = benchmark.Plan(
        config=config,
        forms=tuple(name for name in names if name != benchmark.MIMICRY),
        step_form=step_form,
        mimicry=benchmark.MIMICRY in names,
        normalizations=normalizations,
        rounds=QUICK_ROUNDS if quick else rounds,
        pairs=QUICK_PAIRS if quick else pairs,
        device=chosen,
    )
    machine = benchmark.machine(chosen)
    comparisons = benchmark.run(plan, device_clock(chosen), lambda text: print(text, file=sys.stderr, flush=True))
    if as_json:
        print(json.dumps(benchmark_report.as_values(plan, machine, comparisons), indent=2))
    else:
        print(benchmark_report.as_text(plan, machine, comparisons))
