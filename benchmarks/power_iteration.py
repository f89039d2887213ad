"""The power iteration of all layers together against one layer after the other, in one run.

    python benchmarks/power_iteration.py [preset ...]

Baseline: v, then u of each layer in turn, on its weight read as (outputs, everything else), as the formula says. Prints
the median of the ratios of neighbouring pairs and their quartiles, and the largest difference of u between the two.
"""

from __future__ import annotations

import copy
import sys

import torch
from torch import nn
from torch.nn import functional

from sngan_train.interleaving import device_clock, take_turns, warm_up
from sngan_train.models.spectral_norm import NORM_FLOOR, power_iteration, spectral_layers
from sngan_train.presets import find_preset
from sngan_train.state import TrainState

CPU = torch.device("cpu")
NUM_CLASSES = 10
ROUNDS = 101


@torch.no_grad()
def one_after_the_other(network: nn.Module) -> None:
    for _, layer in spectral_layers(network):
        matrix, u, v = layer.weight_matrix(layer.weight), layer.get_buffer("u"), layer.get_buffer("v")
        functional.normalize(torch.mv(matrix.t(), u), dim=0, eps=NORM_FLOOR, out=v)
        functional.normalize(torch.mv(matrix, v), dim=0, eps=NORM_FLOOR, out=u)


def main() -> None:
    clock = device_clock(CPU)
    for preset in sys.argv[1:] or ["cifar10", "digits"]:
        state = TrainState.create(find_preset(preset), NUM_CLASSES, CPU, torch.float32)
        for name, network in state.networks.items():
            ours, baseline = copy.deepcopy(network), copy.deepcopy(network)
            contenders = {
                "together": lambda ours=ours: power_iteration(ours),
                "in turn": lambda baseline=baseline: one_after_the_other(baseline),
            }
            for contender in contenders.values():
                warm_up(contender, clock)
            ratio = take_turns(contenders, ROUNDS, clock).ratio("together", "in turn")
            pairs = zip(spectral_layers(ours), spectral_layers(baseline), strict=True)
            difference = max(float((a.u - b.u).abs().max()) for (_, a), (_, b) in pairs)
            print(
                f"{preset} {name}: together takes {ratio.median:.2f} of the time in turn "
                f"(quartiles {ratio.lower:.2f}, {ratio.upper:.2f}); u differs by at most {difference:.1e}"
            )


if __name__ == "__main__":
    main()
