"""The graph of each target against the portable one, and what each rewrite is worth, in one run.

    python benchmarks/graph_targets.py [--each] [preset[:channels[:network]] ...]

With --each also every form of the upsampling convolutions with what all targets have ("only …"), and the graph for the
CPU without one of its rewrites ("cpu without …").

Runs on ONNX Runtime's CPU provider as the server does: every core, no spinning. Contenders take turns; the ratios are
of one round's times. "one by one" is 16 images in 16 runs, as the server draws on this provider; "batch 16" is one run.
The networks are untrained, with random biases and tables: zeros and ones would let the exporter and ONNX Runtime leave
out what trained networks need.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn

from export.onnx_writer import generator_to_onnx
from export.rewrite.rewriting import Rewrite
from export.rewrite.shapes import with_batch_named
from export.rewrite.upsampling_as_phases import UPSAMPLING_AS_PHASES
from export.rewrite.upsampling_as_shared_products import UPSAMPLING_AS_SHARED_PRODUCTS
from export.rewrite.upsampling_as_shared_rows import UPSAMPLING_AS_SHARED_ROWS
from export.rewrite.upsampling_as_stacked import UPSAMPLING_AS_STACKED
from export.rewrite.upsampling_as_transposed import UPSAMPLING_AS_TRANSPOSED
from export.targets import BATCH, EVERYWHERE, FOR_CPU, TARGETS, graph_for, rewritten
from handlers.session import import_onnxruntime, usable_cores
from sngan_train.interleaving import device_clock, take_turns, warm_up
from sngan_train.models import Generator, build_generator
from sngan_train.models.spectral_norm import SigmaSource
from sngan_train.presets import find_preset

FORMS = (
    UPSAMPLING_AS_PHASES,
    UPSAMPLING_AS_STACKED,
    UPSAMPLING_AS_TRANSPOSED,
    UPSAMPLING_AS_SHARED_ROWS,
    UPSAMPLING_AS_SHARED_PRODUCTS,
)
NUM_CLASSES, NUM_IMAGES, ROUNDS = 10, 16, 21
CPU = torch.device("cpu")


@torch.no_grad()
def randomised_generator(preset: str, channels: int, network: str) -> Generator:
    config = find_preset(preset).override(
        {"generator": {"channels": channels, "network": network, "spectral_norm": False}}
    )
    torch.manual_seed(0)
    generator = build_generator(config, NUM_CLASSES, source=SigmaSource.NONE)
    for name, parameter in generator.named_parameters():
        if parameter.ndim == 1 or ".scale." in name or ".shift." in name:
            parameter.uniform_(0.5, 1.5)
    for module in generator.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0  # running statistics are those of the one batch that follows
    z = torch.randn(64, generator.latent_dim)
    generator.train()(*((z, torch.arange(64) % NUM_CLASSES) if generator.conditional else (z,)))
    return generator.eval()


def contenders_of(portable: onnx.ModelProto, each: bool) -> dict[str, onnx.ModelProto]:
    graphs = {target: graph_for(target, portable)[0] for target in TARGETS}
    graphs["cpu, to become int8"] = graph_for("cpu", portable, "int8")[0]
    if not each:
        return graphs
    lists: dict[str, tuple[Rewrite[Any], ...]] = {f"only {form.name}": (*EVERYWHERE, form) for form in FORMS}
    for left in FOR_CPU[len(EVERYWHERE) :]:
        lists[f"cpu without {left.name}"] = tuple(kept for kept in FOR_CPU if kept is not left)
    for name, rewrites in lists.items():
        graphs[name] = with_batch_named(rewritten(portable, rewrites)[0], BATCH)
    return graphs


def open_session(model: onnx.ModelProto) -> Any:
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = usable_cores()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def in_runs_of(size: int, session: Any, feed: dict[str, np.ndarray]) -> Callable[[], None]:
    parts = [{name: array[i : i + size] for name, array in feed.items()} for i in range(0, NUM_IMAGES, size)]

    def draw() -> None:
        for part in parts:
            session.run(["image"], part)

    return draw


def main() -> None:
    parser = argparse.ArgumentParser(description="The graph of each target against the portable one.")
    parser.add_argument("networks", nargs="*", default=["digits", "cifar10"], metavar="preset[:channels[:network]]")
    parser.add_argument("--each", action="store_true", help="also what each rewrite is worth")
    arguments = parser.parse_args()
    clock = device_clock(CPU)
    for wanted in arguments.networks:
        preset, channels, network, *_ = (*wanted.split(":"), "", "")
        config = find_preset(preset).generator
        generator = randomised_generator(preset, int(channels or config.channels), network or config.network)
        portable = generator_to_onnx(generator)
        sessions = {name: open_session(model) for name, model in contenders_of(portable, arguments.each).items()}
        z = np.random.default_rng(0).standard_normal((NUM_IMAGES, generator.latent_dim), dtype=np.float32)
        feed = {"z": z, "label": np.arange(NUM_IMAGES) % NUM_CLASSES} if generator.conditional else {"z": z}
        reference = sessions["portable"].run(["image"], feed)[0]
        for size, title in ((1, f"{NUM_IMAGES} one by one"), (NUM_IMAGES, f"batch {NUM_IMAGES}")):
            contenders = {name: in_runs_of(size, session, feed) for name, session in sessions.items()}
            for contender in contenders.values():
                warm_up(contender, clock)
            timings = take_turns(contenders, ROUNDS, clock)
            for name, session in sessions.items():
                ratio = timings.ratio("portable", name)
                difference = np.abs(session.run(["image"], feed)[0] - reference).max()
                print(
                    f"{wanted}, {title}: {name} {NUM_IMAGES / timings.spread(name).median:.1f} images/s, "
                    f"{ratio.median:.2f} of portable (quartiles {ratio.lower:.2f}, {ratio.upper:.2f}), "
                    f"differs by at most {difference:.1e}"
                )


if __name__ == "__main__":
    main()
