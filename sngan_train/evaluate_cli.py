"""`sngan evaluate`. PyTorch is imported inside the command."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sngan_train.errors import ConfigError
from sngan_train.metrics.protocol import PROTOCOLS, find_protocol

if TYPE_CHECKING:
    from sngan_train.metrics.record import MetricRecord

app = typer.Typer()


@app.command()
def evaluate(
    subject: Annotated[
        Path | None, typer.Argument(help="A run's folder, a checkpoint's folder, or a generator.onnx.")
    ] = None,
    protocol: Annotated[str, typer.Option(help=f"How to measure: {', '.join(PROTOCOLS)}.")] = "quick",
    features: Annotated[
        str | None,
        typer.Option(help="Whose features: inception or efficientnet-lite0.", show_default="the protocol's"),
    ] = None,
    inception_weights: Annotated[
        Path | None, typer.Option(help="The file of the Inception network, if it shall not be downloaded.")
    ] = None,
    weights: Annotated[
        str, typer.Option(help="ema, the averaged generator, or raw, the one that was trained.")
    ] = "ema",
    real: Annotated[
        str | None, typer.Option(help="The real images, as --data of `sngan train`.", show_default="the run's own")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the generated images.")] = 0,
    against: Annotated[
        Path | None,
        typer.Option(help="A run's folder or a record's file to compare with; refused if it was measured differently."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    cache: Annotated[bool, typer.Option(help="Keep what was measured of the real images.")] = True,
    self_test: Annotated[
        bool, typer.Option("--self-test", help="Measure real CIFAR-10 against real CIFAR-10, and print what to expect.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole record.")] = False,
) -> None:
    """Measure a generator: distances, Inception score, precision and recall, class agreement.

    Prints the values with all that they depend on, and adds the record to RUN/metrics.jsonl. The generated images
    follow from --seed alone, so a run and the file exported from it get the same values.
    """
    chosen = find_protocol(protocol)
    try:
        import torch  # noqa: F401

        from sngan_train.distributed import Processes
        from sngan_train.metrics import session
        from sngan_train.metrics.record import best_of, read_record, require_comparable, saved_records
    except ModuleNotFoundError as error:
        raise ConfigError(f"evaluation needs {error.name}: `pip install 'sngan[train,evaluate]'`") from error

    options = session.Options(
        protocol=chosen, features=features, inception_weights=inception_weights, seed=seed, device=device, cache=cache
    )
    if self_test:
        print(session.self_test(options, real or "cifar10"))
        return
    if subject is None:
        raise ConfigError("name what to evaluate: a run's folder or a generator.onnx, or --self-test")
    other = read_record(against) if against else None
    record = session.evaluate_and_save(subject, options, weights=weights, real=real)
    if not Processes.of_environment(os.environ).is_first:
        return
    if as_json:
        print(json.dumps(record.to_dict(), indent=2, ensure_ascii=False))
    else:
        _print(record)
        best = best_of(saved_records(session.folder_of(subject)), record)
        if best.step != record.step:
            value = best.headline_value
            print(f"best so far: {best.headline} {value:.4g} at step {best.step:,}; this is step {record.step:,}")
    if other is not None:
        require_comparable(other, record)
        change = record.headline_value - other.headline_value
        print(f"against {against}: {record.headline} {other.headline_value:.4g} there, {change:+.4g} here")
    print(f"next: sngan sample {subject}, or sngan evaluate {subject} --protocol {_another(protocol)}", file=sys.stderr)


def _print(record: MetricRecord) -> None:
    """The values, then what they depend on."""
    width = max(map(len, record.values))
    for name, value in record.values.items():
        print(f"{name:{width}}  {'not finite' if value is None else f'{value:.4f}'}")
    real, generator = record.real, record.generator
    print(
        f"\nprotocol {record.protocol['name']}: {real['images']:,} real images ({real['split']}; {real['origin']}), "
        f"{record.protocol['fake_images']:,} generated (seed {record.seed}, {generator['weights']} weights, step "
        f"{record.step:,})"
    )
    facts = record.extractor
    print(
        f"features: {facts['name']}, {facts['feature_dim']} of images at {facts['input_size']} pixels "
        f"({facts['resize']}), {facts['precision']}, weights {facts['weights_sha256'][:12]}"
    )
    for note in record.notes:
        print(f"note: {note}")


def _another(protocol: str) -> str:
    return "intra" if protocol != "intra" else "quick"
