"""Do one cell: train it, or go on training it, evaluate it, leave its result.

A cell that fails leaves a result that says so.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from sngan_train import benchmark
from sngan_train.checkpoint import Checkpoint, open_checkpoint
from sngan_train.config import NORMALIZATIONS, DataConfig
from sngan_train.data import ImageSource
from sngan_train.distributed import Processes
from sngan_train.errors import DivergenceError, TrainError
from sngan_train.interleaving import device_clock
from sngan_train.loop import train
from sngan_train.metrics.evaluate import Settings
from sngan_train.metrics.extractor import FeatureExtractor, load_extractor
from sngan_train.metrics.measure import REFERENCE_CACHE, measure, open_subject, real_images
from sngan_train.metrics.protocol import find_protocol
from sngan_train.metrics.record import MetricRecord, save_record, saved_records
from sngan_train.records import read_records
from sngan_train.runtime import choose_device
from sngan_train.sampling import fixed_images, grid, write_png
from sngan_train.sources import load_data
from sngan_train.spectrum import network_spectrum
from sngan_train.study.cell import COST, Cell, CellResult, result_path, run_path, write_result

OUTCOME = "outcome.json"  # in a run's folder: that training is over, and how it ended
COST_PAIRS = 15  # timings of each method
DIGITS = 4  # of the singular values in a result, which is to stay small


def run_cell(cell: Cell, root: Path, device: str = "auto") -> CellResult:
    """Train, evaluate and write the result of `cell` under `root`; whatever goes wrong becomes a failed result.

    Only KeyboardInterrupt leaves; what was trained until then is kept.
    """
    try:
        chosen = choose_device(device)
        result = _cost(cell, chosen) if cell.kind == COST else _trained(cell, root, chosen)
    except Exception as error:  # a bug in one cell must not stop a night of others
        reason = str(error) if isinstance(error, TrainError) else f"{type(error).__name__}: {error}"
        result = _result(cell, status="failed", reason=reason)
    write_result(root, result)
    return result


def environment(device: torch.device) -> dict[str, Any]:
    """Versions and hardware, without the machine's name."""
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in ("sngan", "torch", "numpy")},
        **benchmark.machine(device),
        "threads": torch.get_num_threads(),
    }


def _result(cell: Cell, **fields: Any) -> CellResult:
    return CellResult(
        name=cell.name, axes=cell.axes, fingerprint=cell.fingerprint, published=cell.published,
        total_steps=cell.config.training.total_steps, **fields,
    )  # fmt: skip


def _trained(cell: Cell, root: Path, device: torch.device) -> CellResult:
    run = run_path(root, cell.name)
    images = _images(cell.config.data)
    outcome = _train(cell, images, run, device)
    fields: dict[str, Any] = {
        "train_seconds": outcome["train_seconds"],
        "collapse_warnings": tuple(
            f"step {record['step']}: {record['warning']}"
            for record in read_records(run / "stats.jsonl")
            if "warning" in record
        ),
        "environment": environment(device),
    }
    if outcome["status"] == "diverged":
        return _result(cell, status="diverged", reason=outcome["reason"], **fields)
    started = time.monotonic()
    checkpoint = open_checkpoint(run)
    curve = tuple((record.step, record.headline_value) for record in saved_records(run))
    record = evaluate_run(run, cell.protocol, cell.features, device)
    picture = result_path(root, cell.name).with_suffix(".png")
    _draw(checkpoint, picture)
    return _result(
        cell,
        status="done",
        record=record.to_dict(),
        spectrum=_spectrum(checkpoint),
        curve=curve,
        evaluate_seconds=round(time.monotonic() - started, 1),
        sample=picture.name,
        **fields,
    )


def _train(cell: Cell, images: ImageSource, run: Path, device: torch.device) -> dict[str, Any]:
    """How training ended; it is not begun again where an earlier call saw its end."""
    path = run / OUTCOME
    if path.exists():
        outcome: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return outcome
    started = time.monotonic()
    outcome = {"status": "trained"}
    try:
        train(cell.config, images, run, device, quiet=True)
    except DivergenceError as error:
        outcome = {"status": "diverged", "reason": str(error).replace(f"{run}", "RUN")}
    outcome["train_seconds"] = round(time.monotonic() - started, 1)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(outcome) + "\n", encoding="utf-8")
    partial.replace(path)
    return outcome


def evaluate_run(run: Path, protocol: str, features: str, device: torch.device) -> MetricRecord:
    """Measure the newest checkpoint of `run` and keep the record there, too."""
    subject = open_subject(run, weights="ema", device=device)
    chosen = find_protocol(protocol)
    assert subject.data is not None
    images = _images(subject.data) if chosen.real_split == "train" else real_images(subject, "test", None, _hush)
    settings = Settings(protocol=chosen, cache=REFERENCE_CACHE)
    record = measure(subject, images, _extractor(features, device), settings, processes=Processes())
    save_record(run, record)
    return record


@functools.lru_cache(maxsize=2)  # a process does many cells of few data sets
def _images(config: DataConfig) -> ImageSource:
    return load_data(config, _hush)


@functools.lru_cache(maxsize=1)
def _extractor(name: str, device: torch.device) -> FeatureExtractor:
    # In float32, so that cells of machines with and without bfloat16 can stand in one table.
    return load_extractor(name, device, precision="float32")


def _hush(text: str) -> None:
    pass


def _draw(checkpoint: Checkpoint, path: Path) -> None:
    generator = checkpoint.load_generator_ema()
    images = fixed_images(generator, len(checkpoint.class_names))
    shown = checkpoint.class_names[: len(images)] if generator.conditional else ()
    write_png(grid(images, shown), path)


def _spectrum(checkpoint: Checkpoint) -> dict[str, Any]:
    """Of the discriminator, shortened."""
    layers = {}
    for name, layer in network_spectrum(checkpoint.load_discriminator()).items():
        values = layer.to_dict()
        values["singular_values"] = [float(f"{value:.{DIGITS}g}") for value in layer.singular_values]
        layers[name] = values
    return layers


def _cost(cell: Cell, device: torch.device) -> CellResult:
    """Discriminator updates of every method, taking turns."""
    started = time.monotonic()
    plan = benchmark.Plan(
        config=cell.config,
        forms=(),
        step_form="float32" if device.type == "cpu" else "bfloat16",
        mimicry=False,
        normalizations=True,
        rounds=2,
        pairs=COST_PAIRS,
        device=device,
    )
    comparison = benchmark.run(plan, device_clock(device), _hush)[-1]
    cost = {
        name: {"seconds": comparison.timings.spread(name).median, **dataclasses.asdict(comparison.cost(name))}
        for name in NORMALIZATIONS
    }
    return _result(
        cell,
        status="done",
        cost=cost,
        evaluate_seconds=round(time.monotonic() - started, 1),
        environment=environment(device) | {"load": os.getloadavg()[0]},
    )
