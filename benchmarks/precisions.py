"""The precisions of one generator on ONNX Runtime's CPU provider against the graph as torch exports it, in one run.

    python benchmarks/precisions.py [preset[:channels] | RUN ...]

Contenders: float32 of the portable and the cpu target; int8 as exported here (weights of 7 bits), with weights of 8
bits, and of the portable graph; what ONNX Runtime's own quantizer makes of the same convolutions of those two graphs;
float16, which this provider computes by converting. "PSNR" compares with float32 on some images. Sessions are opened as
the server does: every core, no spinning. Contenders take turns; the ratios are of one round's times. "one by one" is 16
images in 16 runs, as the server draws on this provider; "batch 16" is one run.

A preset's network is untrained: biases, tables and statistics are drawn at random, and its PSNR says little.
"""

from __future__ import annotations

import logging
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from export.fold import fold_spectral_norm
from export.metadata import generator_metadata
from export.onnx_writer import generator_to_onnx
from export.precision.calibration import CALIBRATION_IMAGES
from export.precision.float16 import to_float16
from export.precision.int8 import to_int8
from export.precision.number_format import U8_S7, NumberFormat
from export.precision.pixels import PixelDifferenceSum
from export.precision.serving_draws import CALIBRATION_SEED, GATE_SEED, serving_draws
from export.precision.sessions import draw_images, open_session
from export.targets import graph_for
from handlers.metadata import GeneratorMetadata
from handlers.session import to_uint8, usable_cores
from sngan_train.checkpoint import open_checkpoint
from sngan_train.interleaving import device_clock, take_turns, warm_up
from sngan_train.models import build_generator
from sngan_train.models.spectral_norm import SigmaSource
from sngan_train.presets import find_preset

BATCH, ROUNDS, COMPARED = 16, 15, 128
U8_S8 = NumberFormat(name="weights of 8 bits", activation=np.uint8, largest_weight=127)
BASELINE = "float32, portable"


@torch.no_grad()
def untrained(preset: str, channels: int | None) -> tuple[onnx.ModelProto, GeneratorMetadata]:
    config = find_preset(preset)
    if channels:
        config = config.override({"generator": {"channels": channels}})
    torch.manual_seed(0)
    generator = build_generator(config, 10, source=SigmaSource.NONE).eval().requires_grad_(False)
    for name, tensor in (*generator.named_parameters(), *generator.named_buffers()):
        if tensor.ndim == 1 or ".scale." in name or ".shift." in name:
            tensor.uniform_(0.5, 1.5)
    metadata = GeneratorMetadata(
        name=preset,
        version="1",
        latent_dim=config.generator.latent_dim,
        class_names=tuple("0123456789"),
        channels=config.data.channels,
        height=config.data.image_size,
        width=config.data.image_size,
        color_mode="L" if config.data.channels == 1 else "RGB",
    )
    return generator_to_onnx(generator), metadata


def trained(run: Path) -> tuple[onnx.ModelProto, GeneratorMetadata]:
    checkpoint = open_checkpoint(run)
    folded = fold_spectral_norm(checkpoint.load_generator_ema(), checkpoint.config, len(checkpoint.class_names))
    return generator_to_onnx(folded), generator_metadata(checkpoint, "1")


def by_the_library(model: onnx.ModelProto, metadata: GeneratorMetadata) -> onnx.ModelProto:
    """Min-max, per channel, all convolutions, after its own preparation."""
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.draws = serving_draws(metadata, seed=CALIBRATION_SEED, images=range(CALIBRATION_IMAGES), batch=BATCH)

        def get_next(self) -> dict[str, Any] | None:
            draw = next(self.draws, None)
            return None if draw is None else draw.feed

    with tempfile.TemporaryDirectory() as folder:
        given, prepared, result = (Path(folder) / name for name in ("given.onnx", "prepared.onnx", "result.onnx"))
        onnx.save(model, given)
        quant_pre_process(given, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            result,
            Reader(),
            op_types_to_quantize=["Conv"],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return onnx.load(result)


def contenders(portable: onnx.ModelProto, metadata: GeneratorMetadata) -> dict[str, onnx.ModelProto]:
    for_integers, _ = graph_for("cpu", portable, "int8")
    made = {BASELINE: portable, "float32, cpu": graph_for("cpu", portable)[0]}
    for name, graph, numbers in (
        ("int8", for_integers, U8_S7),
        ("int8 with weights of 8 bits", for_integers, U8_S8),
        ("int8, portable", portable, U8_S7),
    ):
        found = to_int8(graph, metadata, numbers=numbers, budget_db=0.0).model  # every layer
        if found is not None:
            made[name] = found
    made["int8 by the library"] = by_the_library(for_integers, metadata)
    made["int8 by the library, portable"] = by_the_library(portable, metadata)
    made["float16, portable"] = to_float16(portable)
    return made


def in_runs_of(size: int, session: Any, feed: dict[str, np.ndarray]) -> Callable[[], None]:
    parts = [{name: array[i : i + size] for name, array in feed.items()} for i in range(0, BATCH, size)]

    def draw() -> None:
        for part in parts:
            session.run(["image"], part)

    return draw


def compare(wanted: str) -> None:
    if Path(wanted).is_dir():
        portable, metadata = trained(Path(wanted))
    else:
        preset, _, channels = wanted.partition(":")
        portable, metadata = untrained(preset, int(channels) if channels else None)
    models = contenders(portable, metadata)
    sessions = {name: open_session(model) for name, model in models.items()}
    draws = list(serving_draws(metadata, seed=GATE_SEED, images=range(COMPARED), batch=BATCH))
    references = [to_uint8(draw_images(sessions[BASELINE], draw)) for draw in draws]
    clock = device_clock(torch.device("cpu"))
    print(
        f"{wanted}: {usable_cores()} cores, {ROUNDS} rounds of {BATCH} images, PSNR over {COMPARED} images", flush=True
    )
    timings = {}
    for size, way in ((BATCH, f"batch {BATCH}"), (1, "one by one")):
        calls = {name: in_runs_of(size, session, draws[0].feed) for name, session in sessions.items()}
        for call in calls.values():
            warm_up(call, clock)
        timings[way] = take_turns(calls, ROUNDS, clock)
    for name, session in sessions.items():
        total = PixelDifferenceSum()
        for draw, reference in zip(draws, references, strict=True):
            total.add(to_uint8(draw_images(session, draw)), reference)
        megabytes = len(models[name].SerializeToString()) / 2**20
        print(f"  {name}: PSNR {total.result().psnr_db:.1f} dB, {megabytes:.1f} MB")
        for way, timing in timings.items():
            gain = timing.ratio(BASELINE, name)
            print(
                f"    {way}: {BATCH / timing.spread(name).median:.0f} images/s, {gain.median:.2f} times the portable "
                f"float32 graph (quartiles {gain.lower:.2f}, {gain.upper:.2f})"
            )


def main() -> None:
    logging.disable(logging.WARNING)
    for wanted in sys.argv[1:] or ["cifar10"]:
        compare(wanted)


if __name__ == "__main__":
    main()
