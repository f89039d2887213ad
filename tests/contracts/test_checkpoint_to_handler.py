"""From training's checkpoint to the handler's answer, without a server: the three contracts in a row."""

import io
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from handlers.latents import draw_latents
from sngan_train.checkpoint import open_checkpoint
from sngan_train.data import ImageData
from sngan_train.presets import find_preset


class Context:
    """What TorchServe gives a handler, as far as ours uses it."""

    def __init__(self, model_dir: Path) -> None:
        self.manifest = json.loads((model_dir / "MAR-INF" / "MANIFEST.json").read_text())
        self.system_properties = {"model_dir": str(model_dir)}
        self.model_yaml_config: dict[str, Any] = {"handler": {"provider": "cpu"}}
        self.status: dict[int, int] = {}
        self.headers: dict[str, str] = {}

    def get_all_request_header(self, index: int) -> dict[str, str]:
        return {"Content-Type": "application/json"}

    def get_request_id(self, index: int) -> str:
        return "test"

    def set_response_status(self, code: int, phrase: str, idx: int) -> None:
        self.status[idx] = code

    def set_response_content_type(self, index: int, value: str) -> None:
        pass

    def set_response_header(self, index: int, name: str, value: str) -> None:
        self.headers[name] = value


def test_the_handler_draws_what_the_checkpoint_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from export.pipeline import export_run
    from sngan_train.loop import train

    config = find_preset("digits").override(
        {
            "data": {"channels": 3},
            "generator": {"channels": 8, "latent_dim": 8},
            "discriminator": {"channels": 8},
            "training": {"total_steps": 2, "batch_size": 6, "precision": "float32"},
        }
    )
    data = ImageData(
        images=torch.randint(0, 256, (12, 3, 16, 16), dtype=torch.uint8),
        labels=torch.arange(12) % 2,
        class_names=("cat", "dog"),
        origin="random",
    )
    train(config, data, tmp_path / "run", torch.device("cpu"), quiet=True)
    exported = export_run(tmp_path / "run", tmp_path / "out")
    with zipfile.ZipFile(exported.archive) as archive:
        archive.extractall(tmp_path / "model")

    monkeypatch.syspath_prepend(str(tmp_path / "model"))
    monkeypatch.delitem(sys.modules, "sngan_handler", raising=False)
    import sngan_handler  # the archive's own entry file

    handler, context = sngan_handler.SnganHandler(), Context(tmp_path / "model")
    handler.initialize(context)
    (body,) = handler.handle([{"body": {"class": "dog", "seed": 11}}], context)
    assert context.status == {0: 200}
    with Image.open(io.BytesIO(body)) as image:
        served = np.asarray(image).astype(float)

    generator = open_checkpoint(tmp_path / "run").load_generator_ema()
    with torch.no_grad():
        expected = generator(torch.from_numpy(draw_latents(11, [0], 8)), torch.tensor([1]))[0]
    levels = np.clip(np.rint((expected.permute(1, 2, 0).numpy() + 1.0) * 127.5), 0, 255)
    assert np.abs(served - levels).max() <= 1.0  # two runtimes may round a value between two levels apart
    assert (served != levels).mean() < 0.01
