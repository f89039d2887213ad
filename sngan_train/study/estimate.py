"""How long a study takes, from a few updates of every kind of cell, timed with as many at once as will run."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from sngan_train.config import RunConfig
from sngan_train.study.cell import COST, Cell
from sngan_train.study.local_launcher import ask_all

TIMED_S = 1.5  # of each kind of update
WARM_UPS = 3
TIMED_IMAGES = 128  # for evaluation
START_S = 12.0  # a worker's own start: torch, images, extractor; seen 8 to 22 s
COST_CELL_S = 180.0  # fifteen turns of eleven methods; seen at a quarter of the width
RECORDED_EXTRA = 1.1  # logging, checkpoints and the data stream on top of the updates; seen 1.05 to 1.15


def time_cell(cell: Cell, device: str) -> dict[str, float]:
    """Seconds of a generator update, a discriminator update and an evaluated image of `cell`, in this process."""
    import torch

    from sngan_train.metrics.extractor import load_extractor
    from sngan_train.noise import Noise
    from sngan_train.objective import Objective
    from sngan_train.runtime import STEP_STREAM, choose_device, choose_precision, seeded_generator
    from sngan_train.state import TrainState
    from sngan_train.steps import discriminator_step, generator_step

    config, chosen = cell.config, choose_device(device)
    classes = 10
    state = TrainState.create(config, classes, chosen, choose_precision(config.training.precision, chosen))
    objective = Objective.of(config)
    size, batch = config.data.image_size, config.training.batch_size
    images = torch.rand(batch, config.data.channels, size, size, device=chosen) * 2 - 1
    labels = torch.randint(classes, (batch,), device=chosen)

    def noise() -> Noise:
        return Noise(generator=seeded_generator(0, STEP_STREAM, 0, chosen))

    def mean_seconds(update: Any) -> float:
        for _ in range(WARM_UPS):
            update()
        count, started = 0, time.perf_counter()
        while time.perf_counter() - started < TIMED_S:
            update()
            count += 1
        return (time.perf_counter() - started) / count

    extractor = load_extractor(cell.features, chosen)
    pixels = torch.zeros(TIMED_IMAGES, config.data.channels, size, size, dtype=torch.uint8)
    return {
        "generator_s": mean_seconds(lambda: generator_step(state, objective, noise())),
        "discriminator_s": mean_seconds(lambda: discriminator_step(state, objective, images, labels, noise())),
        "image_s": mean_seconds(lambda: extractor(pixels)) / TIMED_IMAGES,
    }


def seconds_of(cell: Cell, times: Mapping[str, float], images: int) -> float:
    """What the cell should take one worker: all updates, and `images` evaluated."""
    if cell.kind == COST:
        return COST_CELL_S
    config = cell.config
    update = times["generator_s"] + config.optimizer.critic_steps * times["discriminator_s"]
    return RECORDED_EXTRA * config.training.total_steps * update + images * times["image_s"]


def estimate(cells: Sequence[Cell], images: int, *, workers: int, threads: int, device: str) -> float:
    """Seconds until all `cells` are done, `workers` at once; takes some seconds for each kind of network."""
    kinds: dict[str, Cell] = {}
    for cell in cells:
        if cell.kind != COST:
            kinds.setdefault(_kind(cell.config), cell)
    answers = ask_all("time", list(kinds.values()), workers=workers, threads=threads, device=device)
    times = {_kind(cell.config): answer for cell, answer in answers}
    total = sum(seconds_of(cell, times.get(_kind(cell.config), {}), images) for cell in cells)
    longest = max((seconds_of(cell, times.get(_kind(cell.config), {}), images) for cell in cells), default=0.0)
    return START_S + max(longest, total / workers)


def _kind(config: RunConfig) -> str:
    """Cells of one kind take the same time an update."""
    values = config.to_dict()
    return json.dumps(
        [values["data"]["image_size"], values["generator"], values["discriminator"], config.training.loss],
        sort_keys=True,
    )
