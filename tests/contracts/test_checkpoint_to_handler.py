"""From training's checkpoint to the handler's answer, without a server: the three contracts in a row."""

from __future__ import annotations

import dataclasses
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
from typer.testing import CliRunner

from handlers.errors import RequestError
from handlers.latents import draw_latents
from sngan_cli import sample
from sngan_train.checkpoint import open_checkpoint
from sngan_train.data import ImageData
from sngan_train.presets import find_preset

VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "conditional": {"generator": {"channels": 8, "latent_dim": 8}},
    "unconditional": {
        "generator": {"channels": 8, "latent_dim": 8},
        "discriminator": {"conditioning": "none"},
    },
    "conditional-uniform-cnn": {
        "data": {"image_size": 32},
        "generator": {
            "network": "cnn-chainer-gan-lib",
            "channels": 4,
            "latent_dim": 8,
            "latent_distribution": "uniform",
        },
    },
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Road:
    """One variant from its run to its unpacked archive."""

    conditional: bool
    distribution: str
    run: Path
    generator: Path
    model: Path


@pytest.fixture(scope="module", params=list(VARIANTS))
def road(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Road:
    from export.pipeline import export_run
    from sngan_train.loop import train

    folder = tmp_path_factory.mktemp("road")
    common = {
        "data": {"channels": 3},
        "discriminator": {"channels": 8},
        "training": {"total_steps": 2, "batch_size": 6, "precision": "float32"},
    }
    config = find_preset("digits").override(common).override(VARIANTS[request.param])
    size = config.data.image_size
    data = ImageData(
        images=torch.randint(0, 256, (12, 3, size, size), dtype=torch.uint8),
        labels=torch.arange(12) % 2,
        class_names=("cat", "dog"),
        origin="random",
    )
    train(config, data, folder / "run", torch.device("cpu"), quiet=True)
    exported = export_run(folder / "run", folder / "out")
    with zipfile.ZipFile(exported.archive) as archive:
        archive.extractall(folder / "model")
    return Road(
        conditional="unconditional" not in request.param,
        distribution="uniform" if "uniform" in request.param else "normal",
        run=folder / "run",
        generator=exported.generator,
        model=folder / "model",
    )


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


def test_the_handler_draws_what_the_checkpoint_holds(road: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(road.model))
    monkeypatch.delitem(sys.modules, "sngan_handler", raising=False)
    import sngan_handler  # the archive's own entry file

    handler, context = sngan_handler.SnganHandler(), Context(road.model)
    handler.initialize(context)
    fields = [{"class": "dog", "seed": 11}, {"seed": 11}, {"seed": 11, "truncation": 1}]
    bodies = handler.handle([{"body": one} for one in fields], context)
    assert context.status == {
        0: 200 if road.conditional else 422,
        1: 200,
        2: 200 if road.distribution == "normal" else 422,
    }
    assert ("X-SNGAN-Classes" in context.headers) == road.conditional
    with Image.open(io.BytesIO(bodies[0 if road.conditional else 1])) as image:
        served = np.asarray(image).astype(float)

    generator = open_checkpoint(road.run).load_generator_ema()
    z = torch.from_numpy(draw_latents(11, [0], 8, distribution=road.distribution))
    with torch.no_grad():
        expected = (generator(z, torch.tensor([1])) if road.conditional else generator(z))[0]
    levels = np.clip(np.rint((expected.permute(1, 2, 0).numpy() + 1.0) * 127.5), 0, 255)
    assert np.abs(served - levels).max() <= 1.0  # two runtimes may round a value between two levels apart
    assert (served != levels).mean() < 0.01


def test_sample_draws_the_same_from_the_run_and_from_the_file(road: Road, tmp_path: Path) -> None:
    pictures = []
    for source in (road.run, road.generator):
        words = [str(source), "-n", "5", "--seed", "3", "-o", str(tmp_path / "x.png")]
        words += ["--class", "1"] if road.conditional else []
        CliRunner().invoke(sample.app, words, catch_exceptions=False)
        with Image.open(tmp_path / "x.png") as image:
            pictures.append(np.asarray(image).astype(int))
    assert np.abs(pictures[0] - pictures[1]).max() <= 1
    assert (pictures[0] != pictures[1]).mean() < 0.01


def test_sample_refuses_the_same_from_the_run_and_from_the_file(road: Road, tmp_path: Path) -> None:
    wrong = {"--class": "zebra"} | ({"--truncation": "1"} if road.distribution == "uniform" else {})
    messages = set()
    for source in (road.run, road.generator):
        words = [str(source), "-o", str(tmp_path / "x.png"), *(word for pair in wrong.items() for word in pair)]
        with pytest.raises(RequestError) as caught:
            CliRunner().invoke(sample.app, words, catch_exceptions=False)
        messages.add(str(caught.value))
        assert len(caught.value.details) == len(wrong)
    assert len(messages) == 1
    assert ("this model has no classes" in messages.pop()) != road.conditional
    assert not (tmp_path / "x.png").exists()
