"""The graph of each target, and each form of the upsampling convolutions, against the portable graph, in one run.

    python benchmarks/graph_targets.py [preset[:channels[:network]] ...]

Runs on ONNX Runtime's CPU provider as the server does: every core, no spinning. Contenders take turns; the ratios are
of one round's times. "one by one" is 16 images in 16 runs, as the server draws on this provider; "batch 16" is one run.
The networks are untrained; biases, tables and statistics are drawn at random, since zeros and ones would let the
exporter and ONNX Runtime leave out what trained networks need.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import torch

from export.onnx_writer import generator_to_onnx
from export.rewrite.rewriting import Rewrite, apply_everywhere
from export.rewrite.upsampling_as_phases import UPSAMPLING_AS_PHASES
from export.rewrite.upsampling_as_stacked import UPSAMPLING_AS_STACKED
from export.rewrite.upsampling_as_transposed import UPSAMPLING_AS_TRANSPOSED
from export.targets import EVERYWHERE, TARGETS, graph_for
from handlers.session import import_onnxruntime, usable_cores
from sngan_train.interleaving import device_clock, take_turns, warm_up
from sngan_train.models import Generator, build_generator
from sngan_train.models.spectral_norm import SigmaSource
from sngan_train.presets import find_preset

FORMS = (UPSAMPLING_AS_PHASES, UPSAMPLING_AS_STACKED, UPSAMPLING_AS_TRANSPOSED)
NUM_CLASSES, BATCH, ROUNDS = 10, 16, 21
CPU = torch.device("cpu")


@torch.no_grad()
def randomised_generator(preset: str, channels: int, network: str) -> Generator:
    config = find_preset(preset).override(
        {"generator": {"channels": channels, "network": network, "spectral_norm": False}}
    )
    torch.manual_seed(0)
    generator = build_generator(config, NUM_CLASSES, source=SigmaSource.NONE).eval()
    for name, tensor in (*generator.named_parameters(), *generator.named_buffers()):
        if tensor.ndim == 1 or ".scale." in name or ".shift." in name:
            tensor.uniform_(0.5, 1.5)
    return generator


def with_form(portable: onnx.ModelProto, form: Rewrite[Any]) -> onnx.ModelProto:
    model = ir.from_proto(portable)
    for rewrite in (*EVERYWHERE, form):
        apply_everywhere(rewrite, model)
    return ir.to_proto(model)


def open_session(model: onnx.ModelProto) -> Any:
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = usable_cores()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def in_runs_of(size: int, session: Any, feed: dict[str, np.ndarray]) -> Callable[[], None]:
    parts = [{name: array[i : i + size] for name, array in feed.items()} for i in range(0, BATCH, size)]

    def draw() -> None:
        for part in parts:
            session.run(["image"], part)

    return draw


def main() -> None:
    clock = device_clock(CPU)
    for wanted in sys.argv[1:] or ["digits", "cifar10"]:
        preset, channels, network, *_ = (*wanted.split(":"), "", "")
        config = find_preset(preset).generator
        generator = randomised_generator(preset, int(channels or config.channels), network or config.network)
        portable = generator_to_onnx(generator)
        models = {target: graph_for(target, portable)[0] for target in TARGETS}
        models |= {form.name: with_form(portable, form) for form in FORMS}
        sessions = {name: open_session(model) for name, model in models.items()}
        z = np.random.default_rng(0).standard_normal((BATCH, generator.latent_dim), dtype=np.float32)
        feed = {"z": z, "label": np.arange(BATCH) % NUM_CLASSES} if generator.conditional else {"z": z}
        reference = sessions["portable"].run(["image"], feed)[0]
        for size, title in ((1, f"{BATCH} one by one"), (BATCH, f"batch {BATCH}")):
            contenders = {name: in_runs_of(size, session, feed) for name, session in sessions.items()}
            for contender in contenders.values():
                warm_up(contender, clock)
            timings = take_turns(contenders, ROUNDS, clock)
            for name, session in sessions.items():
                ratio = timings.ratio("portable", name)
                difference = np.abs(session.run(["image"], feed)[0] - reference).max()
                print(
                    f"{wanted}, {title}: {name} {BATCH / timings.spread(name).median:.1f} images/s, "
                    f"{ratio.median:.2f} of portable (quartiles {ratio.lower:.2f}, {ratio.upper:.2f}), "
                    f"differs by at most {difference:.1e}"
                )


if __name__ == "__main__":
    main()
