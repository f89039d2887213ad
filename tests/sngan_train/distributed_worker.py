"""What one of several processes does in test_distributed.py: torchrun starts it with a task and a folder."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import torch

import sngan_cli.main
import sngan_train.loop as loop
import sngan_train.sources
from sngan_train.config import RunConfig
from sngan_train.continuation import where_to_start
from sngan_train.data import ImageData
from sngan_train.distributed import Processes, joined
from sngan_train.errors import CheckpointError, DataError, TrainError
from sngan_train.presets import find_preset
from sngan_train.state import TrainState

CPU = torch.device("cpu")
STEPS = 4
TINY: dict[str, dict[str, object]] = {
    "generator": {"channels": 8, "latent_dim": 8},
    "discriminator": {"channels": 8},
    "optimizer": {"critic_steps": 2},
    "data": {"flip": True},
    "training": {
        "total_steps": STEPS,
        "batch_size": 8,
        "precision": "float32",
        "augmentation": "color,translation,cutout",
        "log_every": 1,
        "sample_every": STEPS,
        "spectrum_every": STEPS,
        "save_every": 2,
    },
}
# Name: what is laid over TINY.
CASES: dict[str, dict[str, dict[str, object]]] = {
    "spectral norm": {},
    "spectral norm, accumulated": {"training": {"accumulation_steps": 2}},
    "gradient penalty": {"discriminator": {"normalization": "gradient-penalty"}, "training": {"loss": "wasserstein"}},
    "gradient penalty, accumulated": {
        "discriminator": {"gradient_penalty": True},
        "training": {"accumulation_steps": 2},
    },
    "orthonormal": {"discriminator": {"normalization": "orthonormal"}},
}


def config_of(case: str) -> RunConfig:
    return find_preset("digits").override(TINY).override(CASES[case])


def some_data() -> ImageData:
    """21 random images of 3 classes: a number that the batch size does not divide."""
    generator = torch.Generator().manual_seed(0)
    return ImageData(
        images=torch.randint(0, 256, (21, 1, 16, 16), dtype=torch.uint8, generator=generator),
        labels=torch.arange(21) % 3,
        class_names=("a", "b", "c"),
        origin="random",
    )


def train_with_frozen_batch_norm(case: str, run_dir: Path, processes: Processes) -> Path:
    """A run whose generator normalises with constants, so that no image's result depends on its neighbours."""
    original = TrainState.__dict__["create"]

    def create(*arguments: object) -> TrainState:
        state: TrainState = original.__func__(TrainState, *arguments)
        state.generator.eval()  # of its layers, batch normalisation alone knows a mode
        return state

    TrainState.create = create  # type: ignore[method-assign, assignment]
    try:
        return loop.train(config_of(case), some_data(), run_dir, CPU, processes=processes, quiet=True)
    finally:
        TrainState.create = original  # type: ignore[method-assign]


def refusals(processes: Processes) -> dict[str, str]:
    """The errors of inequalities, by what was unequal."""
    messages = {}
    for kind in ("nothing", "u", "weight", "batch statistics"):
        state = TrainState.create(config_of("spectral norm"), 3, CPU, torch.float32, processes)
        if processes.rank == 1:
            ending = {"u": "u", "weight": "weight", "batch statistics": "running_mean"}.get(kind, "?")
            tensors = [value for name, value in state.generator.state_dict().items() if name.endswith(ending)]
            for tensor in tensors[:1]:
                tensor.view(-1)[0] += 1e-6
        try:
            processes.require_equal(state.networks, step=7)
        except TrainError as error:
            messages[kind] = str(error)
    try:
        processes.require_same({"training.total_steps": 10 + processes.rank, "same": 1})
    except TrainError as error:
        messages["settings"] = str(error)
    return messages


def order_of_turns(processes: Processes, folder: Path) -> list[str]:
    """Whose mark each process found on its turn."""
    with processes.in_turn():
        found = sorted(path.name for path in folder.glob("turn-*"))
        time.sleep(0.5 if processes.is_first else 0.0)
        (folder / f"turn-{processes.rank}").touch()
    return found


def watch_writing(folder: Path) -> list[str]:
    """A list that gets every path below `folder` that this process opens to write, makes, renames or removes."""
    touched: list[str] = []

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open":
            flags = arguments[2]
            writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        else:
            writes = event in ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "shutil.rmtree")
        if writes and str(arguments[0]).startswith(f"{folder}/"):
            touched.append(f"{event} {arguments[0]}")

    sys.addaudithook(hook)
    return touched


def beginnings(folder: Path, processes: Processes) -> dict[str, object]:
    """Where the processes start if the second sees the run's folder, and if it has another of that name."""
    shared, complaints = where_to_start(folder / "plain", processes)
    assert shared is not None
    assert not complaints
    try:
        other, _ = where_to_start(folder / ("plain" if processes.is_first else "elsewhere"), processes)
    except CheckpointError as error:
        return {"shared": shared.step, "other": str(error)}
    assert other is not None
    return {"shared": shared.step, "other": other.step}


def measure(folder: Path) -> None:
    """All that needs no failure, in one go, since a start takes seconds."""
    processes = Processes.of_environment(os.environ)
    torch.set_num_threads(1)
    found: dict[str, object] = {}
    with joined(processes, CPU):
        found["turns"] = order_of_turns(processes, folder)
        found["refusals"] = refusals(processes)
        found["any"] = [processes.any(False), processes.any(processes.rank == 1)]
        found["mean"] = processes.mean(torch.tensor(float(processes.rank))).item()
        found["from_first"] = processes.from_first(f"word of {processes.rank}")
        found["touched"] = touched = watch_writing(folder)
        # With batch statistics of each process's own images, as a real run has them.
        loop.train(config_of("spectral norm"), some_data(), folder / "plain", CPU, processes=processes, quiet=True)
        for case in CASES:
            train_with_frozen_batch_norm(case, folder / case, processes)
        found["touched"] = list(touched)
        found["beginnings"] = beginnings(folder, processes)
    (folder / f"found-{processes.rank}.json").write_text(json.dumps(found))


def fail(folder: Path) -> None:
    """The real command, on data of which the second process cannot read an image in the second step."""
    images = some_data()
    fetches = 0

    class Failing:
        def __getattr__(self, name: str) -> object:
            return getattr(images, name)

        def __len__(self) -> int:
            return len(images)

        def to(self, device: torch.device) -> Failing:
            return self

        def fetch(self, indices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            nonlocal fetches
            fetches += 1
            if os.environ["RANK"] == "1" and fetches > 2:
                raise DataError("bad.png: cannot be read")
            return images.fetch(indices)

    sngan_train.sources.load_data = lambda config, report: Failing()  # type: ignore[assignment, return-value]
    settings = [f"{section}.{key}={value}" for section, keys in TINY.items() for key, value in keys.items()]
    sys.argv = ["sngan", "train", "--run", str(folder / "run")]
    sys.argv += [part for setting in settings for part in ("--set", setting)]
    sngan_cli.main.main()


if __name__ == "__main__":
    {"measure": measure, "fail": fail}[sys.argv[1]](Path(sys.argv[2]))
