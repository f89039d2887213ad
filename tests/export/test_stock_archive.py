"""The archive of PyTorch's that ours is measured beside draws what the averaged network draws."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from export import stock_archive as stock_archive_module
from export.errors import ExportError
from export.stock_archive import write_stock_archive
from sngan_train.checkpoint import open_checkpoint
from sngan_train.errors import CheckpointError

LEVEL = 1  # float32 sums in another order: a value may round the other way
REQUESTS = [{"n": 16, "class": 2, "seed": 1}, {"seed": 5}, {}]

# What TorchServe's worker does: the unpacked archive first on the path, the handler's only class, batch by batch.
# Nothing of this is in the test's own process, where the names of the archive's modules would stay.
WORKER = """
import base64, json, sys
from types import SimpleNamespace
folder, requests = sys.argv[1], json.loads(sys.argv[2])
sys.path.insert(0, folder)
manifest = json.load(open(folder + "/MAR-INF/MANIFEST.json"))
module = __import__(manifest["model"]["handler"].removesuffix(".py"))
[handler_class] = [v for v in vars(module).values() if isinstance(v, type) and v.__module__ == module.__name__]
from ts.torch_handler.base_handler import BaseHandler
assert issubclass(handler_class, BaseHandler)
types = {}
context = SimpleNamespace(
    system_properties={"model_dir": folder, "gpu_id": None}, manifest=manifest, model_yaml_config={},
    metrics=SimpleNamespace(add_time=lambda *args: None), get_request_header=lambda index, key: None,
    set_response_content_type=lambda index, value: types.__setitem__(index, value),
)
handler = handler_class()
handler.initialize(context)
assert not handler.model.training
layers = [name for name, _ in handler.model.named_buffers() if name.endswith("sigma")]
bodies = handler.handle([{"body": fields} for fields in requests], context)
assert types == {index: "image/png" for index in range(len(requests))}
print(json.dumps({"layers": layers, "bodies": [base64.b64encode(body).decode() for body in bodies]}))
"""


def served(archive: Path, folder: Path) -> tuple[list[str], list[np.ndarray]]:
    """The normalised layers of the network that was loaded, and the picture of each of REQUESTS, (h, w, c)."""
    import base64

    with zipfile.ZipFile(archive) as packed:
        packed.extractall(folder)
    command = [sys.executable, "-W", "ignore", "-c", WORKER, str(folder), json.dumps(REQUESTS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout.splitlines()[-1])
    images = [Image.open(io.BytesIO(base64.b64decode(body))) for body in record["bodies"]]
    return record["layers"], [np.asarray(image).reshape(image.height, image.width, -1) for image in images]


@pytest.mark.slow
@pytest.mark.parametrize("run", ["tiny_run", "tiny_cnn_run"])
def test_the_handler_draws_what_the_unfolded_network_draws(
    run: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    pytest.importorskip("ts", reason="TorchServe is not installed")
    folder = request.getfixturevalue(run)
    network = open_checkpoint(folder).load_generator_ema()
    archive = write_stock_archive(folder, tmp_path / "new" / "stock.mar")
    layers, pictures = served(archive, tmp_path / "model")
    # The naive way: spectral norm is still there.
    assert len(layers) == sum(name.endswith("sigma") for name, _ in network.named_buffers()) > 0
    for fields, picture in zip(REQUESTS, pictures, strict=True):
        n = fields.get("n", 1)
        z = np.random.default_rng(fields.get("seed", 0)).standard_normal((n, network.latent_dim))
        with torch.no_grad():
            images = network(torch.from_numpy(z.astype(np.float32)), torch.full((n,), fields.get("class", 0)))
        levels = np.rint((images.numpy().transpose(0, 2, 3, 1) + 1) * 127.5)
        size = levels.shape[1]
        for index in range(n):
            top, left = (0, 0) if n == 1 else (2 + index // 4 * (size + 2), 2 + index % 4 * (size + 2))
            tile = picture[top : top + size, left : left + size].astype(int)
            assert np.abs(tile - levels[index]).max() <= LEVEL


def test_what_the_archive_holds(tiny_run: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(write_stock_archive(tiny_run, tmp_path / "stock.mar")) as archive:
        names = set(archive.namelist())
        model = json.loads(archive.read("MAR-INF/MANIFEST.json"))["model"]
        state = torch.load(io.BytesIO(archive.read("weights.pt")), weights_only=True)
    assert {"stock_handler.py", "stock_model.py", "stock_model.json", "weights.pt"} <= names
    assert (model["modelFile"], model["serializedFile"]) == ("stock_model.py", "weights.pt")
    expected = open_checkpoint(tiny_run).load_generator_ema().state_dict()
    assert state.keys() == {f"generator.{name}" for name in expected}
    assert all(torch.equal(state[f"generator.{name}"], tensor) for name, tensor in expected.items())


def test_what_cannot_be_packed_is_said_and_leaves_nothing(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CheckpointError):
        write_stock_archive(tmp_path / "no-run", tmp_path / "stock.mar")
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match="cannot be written"):
        write_stock_archive(tiny_run, tmp_path / "file" / "stock.mar")
    monkeypatch.setattr(stock_archive_module, "MODEL_NAME", "no/name")
    with pytest.raises(ExportError, match="torch-model-archiver failed"):
        write_stock_archive(tiny_run, tmp_path / "stock.mar")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
