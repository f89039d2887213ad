import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from sngan_train.checkpoint import list_checkpoints, newest_usable, open_checkpoint
from sngan_train.config import RunConfig
from sngan_train.data import ImageData
from sngan_train.errors import CheckpointError
from sngan_train.models.spectral_norm import exact_sigma, spectral_layers

Train = Callable[[RunConfig, ImageData, Path], Path]


@pytest.fixture
def run(tiny_config: RunConfig, tiny_data: ImageData, train_quietly: Train, tmp_path: Path) -> Path:
    train_quietly(tiny_config, tiny_data, tmp_path / "run")
    return tmp_path / "run"


def test_what_a_checkpoint_holds(run: Path, tiny_config: RunConfig) -> None:
    assert [path.name for path in list_checkpoints(run)] == ["step-000002", "step-000004"]
    checkpoint = open_checkpoint(run)
    assert (checkpoint.step, checkpoint.config) == (4, tiny_config)
    assert checkpoint.class_names == ("a", "b", "c")
    meta = json.loads((checkpoint.path / "meta.json").read_text())
    assert meta["format"] == "sngan-checkpoint/1"
    assert sorted(path.name for path in checkpoint.path.iterdir()) == [
        "discriminator.safetensors",
        "generator.safetensors",
        "generator_ema.safetensors",
        "meta.json",
        "training_state.pt",
    ]
    generator = checkpoint.load_generator_ema()
    assert not generator.training
    for _, layer in spectral_layers(generator):
        assert layer.sigma.item() == pytest.approx(exact_sigma(layer.weight).item(), rel=1e-12)


def test_only_the_last_checkpoints_are_kept(
    tiny_config: RunConfig, tiny_data: ImageData, train_quietly: Train, tmp_path: Path
) -> None:
    config = tiny_config.override({"training": {"save_every": 1, "keep_checkpoints": 2}})
    train_quietly(config, tiny_data, tmp_path)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step-000003", "step-000004"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: _flip(path / "generator_ema.safetensors"), "generator_ema.safetensors is damaged"),
        (lambda path: _flip(path / "training_state.pt"), "training_state.pt is damaged"),
        (lambda path: (path / "discriminator.safetensors").unlink(), "damaged or incomplete"),
        (lambda path: (path / "meta.json").write_text("{"), "damaged or incomplete"),
        (lambda path: (path / "meta.json").write_text("[]"), "damaged or incomplete"),
        (lambda path: _edit(path, format="sngan-checkpoint/9"), "format 'sngan-checkpoint/9' is not"),
        (lambda path: _edit(path, config={"modle": 1}), "unknown key modle"),
    ],
)
def test_damage_is_named_and_the_checkpoint_before_is_used(
    run: Path, damage: Callable[[Path], None], message: str
) -> None:
    newest = list_checkpoints(run)[-1]
    damage(newest)
    with pytest.raises(CheckpointError) as raised:
        open_checkpoint(run)
    assert message in str(raised.value)
    assert str(newest) in str(raised.value)
    usable, complaints = newest_usable(run)
    assert usable is not None
    assert usable.step == 2
    assert complaints == [str(raised.value)]


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such folder"):
        open_checkpoint(tmp_path / "nothing")
    with pytest.raises(CheckpointError, match="no checkpoint in it yet"):
        open_checkpoint(tmp_path)


def test_a_pickle_in_training_state_is_not_run(run: Path, tiny_config: RunConfig, tmp_path: Path) -> None:
    """A training_state.pt that would create a file when unpickled, with a meta.json that vouches for it."""
    import hashlib
    import pickle

    from sngan_train.checkpoint import restore
    from sngan_train.state import TrainState

    trap = tmp_path / "trapped"

    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (trap,)

    newest = list_checkpoints(run)[-1]
    torch.save({"generator_optimizer": Evil()}, newest / "training_state.pt", pickle_module=pickle)
    meta = json.loads((newest / "meta.json").read_text())
    meta["sha256"]["training_state.pt"] = hashlib.sha256((newest / "training_state.pt").read_bytes()).hexdigest()
    (newest / "meta.json").write_text(json.dumps(meta))
    state = TrainState.create(tiny_config, 3, torch.device("cpu"), torch.float32)
    with pytest.raises(CheckpointError, match=r"training_state\.pt cannot be read"):
        restore(state, open_checkpoint(newest))
    assert not trap.exists()


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _edit(path: Path, **changes: object) -> None:
    meta = json.loads((path / "meta.json").read_text())
    (path / "meta.json").write_text(json.dumps({**meta, **changes}))
