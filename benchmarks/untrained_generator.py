"""A generator file of a preset's network without a training: for measurements that ask for speed and not for pictures.

    python benchmarks/untrained_generator.py PRESET TARGET FILE

`TARGET` is one of "cpu", "gpu" and "portable". Weights, tables and statistics are random, as in graph_targets.py.
"""

from __future__ import annotations

import sys
from pathlib import Path

from graph_targets import NUM_CLASSES, randomised_generator

from export.onnx_writer import generator_to_onnx, write_with_metadata
from export.targets import graph_for
from handlers.metadata import GeneratorMetadata
from sngan_train.presets import find_preset


def main(preset: str, target: str, path: Path) -> None:
    config = find_preset(preset)
    network = config.generator
    model, _ = graph_for(target, generator_to_onnx(randomised_generator(preset, network.channels, network.network)))
    metadata = GeneratorMetadata(
        name="untrained",
        version="1.0",
        latent_dim=network.latent_dim,
        latent_distribution=network.latent_distribution,
        class_names=tuple(f"class {number}" for number in range(NUM_CLASSES)),
        channels=config.data.channels,
        height=config.data.image_size,
        width=config.data.image_size,
        color_mode="RGB" if config.data.channels == 3 else "L",
        target=target,
    )
    partial = path.with_suffix(".partial")
    write_with_metadata(model, metadata, partial)
    partial.replace(path)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
