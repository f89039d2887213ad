"""The servers to compare with: started, asked, stopped, and what is said when that is not possible."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

from handlers.layouts import grid
from handlers.session import GeneratorSession
from serve.bench import rivals
from serve.bench.rivals import Rival, RivalError
from serve.exchange import exchange

ANSWER_S = 60.0  # other programs use the machine too
LEVEL = 1  # a whole batch is summed in another order than its images one by one: a value may round the other way


def family_of(rival: Rival) -> list[psutil.Process]:
    root = psutil.Process(rival.pid)
    return [root, *root.children(recursive=True)]


def runs(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def picture(rival: Rival, fields: dict[str, int]) -> np.ndarray:
    answer = exchange(
        rival.url,
        method="POST",
        body=json.dumps(fields).encode(),
        headers={"Content-Type": "application/json"},
        timeout_s=ANSWER_S,
    )
    assert (answer.status, answer.headers["content-type"]) == (200, "image/png")
    with Image.open(io.BytesIO(answer.body)) as image:
        assert image.format == "PNG"
        return np.asarray(image)


def latents_of(seed: int, n: int, latent_dim: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, latent_dim)).astype(np.float32)


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """As if a package were not installed."""
    found = rivals.importlib.util.find_spec

    def hide(name: str) -> None:
        monkeypatch.setattr("importlib.util.find_spec", lambda asked: None if asked == name else found(asked))

    return hide


@pytest.mark.slow
def test_litserve_draws_what_the_file_says_and_leaves_nothing(
    tiny_generator_onnx: Path, tiny_session: GeneratorSession, tmp_path: Path
) -> None:
    pytest.importorskip("litserve", reason="LitServe is not installed: `pip install litserve`")
    with rivals.litserve(tiny_generator_onnx, workers=2, threads=1, folder=tmp_path) as rival:
        assert rival.name.startswith("LitServe 0.")
        family = family_of(rival)
        assert sum("spawn_main" in " ".join(process.cmdline()) for process in family) == 2
        listening = [c.laddr.ip for process in family for c in process.net_connections("tcp") if c.status == "LISTEN"]
        assert set(listening) == {"127.0.0.1"}
        private = Path(psutil.Process(rival.pid).environ()["TMPDIR"])
        assert list(private.iterdir())
        drawn = picture(rival, {"n": 16, "class": 2, "seed": 1})
        alone = picture(rival, {"seed": 1})
    assert 0 < rival.first_answer_s < rivals.START_S
    assert not [process for process in family if runs(process)]
    assert not private.exists()
    assert {path.name for path in tmp_path.iterdir()} == {"litserve.log"}
    expected = tiny_session.generate_levels(latents_of(1, 16, 8), np.full(16, 2))
    assert drawn.shape == (4 * (6 + 2) + 2, 4 * (4 + 2) + 2, 3)
    assert np.abs(drawn.astype(int) - grid(expected)).max() <= LEVEL
    first = tiny_session.generate_levels(latents_of(1, 1, 8), np.zeros(1, dtype=np.int64))[0]
    assert np.abs(alone.astype(int) - first).max() <= LEVEL


@pytest.mark.slow
def test_a_litserve_worker_that_cannot_load_is_one_clear_error(tmp_path: Path) -> None:
    pytest.importorskip("litserve", reason="LitServe is not installed: `pip install litserve`")
    (tmp_path / "bad.onnx").write_bytes(b"no graph")
    before = set(psutil.pids())
    with (
        pytest.raises(RivalError, match=r"ended with code \d+ while starting: .*bad\.onnx"),
        rivals.litserve(tmp_path / "bad.onnx", workers=1, threads=1, folder=tmp_path),
    ):
        pytest.fail("it is not running")
    new = [psutil.Process(pid) for pid in set(psutil.pids()) - before if psutil.pid_exists(pid)]
    assert not [process for process in new if runs(process) and "litserve" in " ".join(process.cmdline())]


def test_without_litserve_the_reason_is_clear(
    tiny_generator_onnx: Path, tmp_path: Path, without: Callable[[str], None]
) -> None:
    without("litserve")
    with (
        pytest.raises(RivalError, match=r"^LitServe is not installed; `pip install litserve`, or the extra `bench`$"),
        rivals.litserve(tiny_generator_onnx, workers=1, threads=1, folder=tmp_path),
    ):
        pytest.fail("it is not running")
    code = "import sys; sys.modules['litserve'] = None; import serve.bench.litserve_server"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "the LitServe server needs litserve: `pip install litserve`, or the extra `bench`\n"


def test_without_torch_the_stock_way_says_so(tmp_path: Path, without: Callable[[str], None]) -> None:
    without("torch")
    with (
        pytest.raises(RivalError, match=r"^PyTorch is not installed; "),
        rivals.stock_torchserve(tmp_path / "stock.mar", folder=tmp_path),
    ):
        pytest.fail("it is not running")


def test_an_archive_that_is_not_there_is_named(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    pytest.importorskip("ts", reason="TorchServe is not installed")
    with (
        pytest.raises(RivalError, match=r"none\.mar: cannot be read \(No such file"),
        rivals.stock_torchserve(tmp_path / "none.mar", folder=tmp_path),
    ):
        pytest.fail("it is not running")


@pytest.fixture(scope="module")
def stock_archive(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """The archive of a run of 16 x 16 grey images in 4 classes, and the network that is in it."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    pytest.importorskip("model_archiver", reason="torch-model-archiver is not installed")
    from export.stock_archive import write_stock_archive
    from sngan_train.checkpoint import open_checkpoint
    from sngan_train.data import ImageData
    from sngan_train.loop import train
    from sngan_train.presets import find_preset

    folder = tmp_path_factory.mktemp("stock")
    config = find_preset("digits").override(
        {
            "generator": {"channels": 8, "latent_dim": 8},
            "discriminator": {"channels": 8},
            "training": {"total_steps": 2, "batch_size": 4, "precision": "float32"},
        }
    )
    images = torch.randint(0, 256, (16, 1, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    data = ImageData(images=images, labels=torch.arange(16) % 4, class_names=("a", "b", "c", "d"), origin="random")
    train(config, data, folder / "run", torch.device("cpu"), quiet=True)
    network = open_checkpoint(folder / "run").load_generator_ema()
    return write_stock_archive(folder / "run", folder / "any näme.mar"), network


@pytest.mark.slow
@pytest.mark.torchserve
def test_stock_torchserve_draws_what_the_network_draws_and_leaves_nothing(
    stock_archive: tuple[Path, Any], tmp_path: Path
) -> None:
    import torch

    archive, network = stock_archive
    with rivals.stock_torchserve(archive, folder=tmp_path) as rival:
        assert rival.name.startswith("TorchServe 0.12.0")
        family = family_of(rival)
        java, workers = family[0], family[1:]
        assert java.name() == "java"
        assert any("/torch/lib/" in mapped.path for mapped in workers[0].memory_maps())  # not our stand-in
        private = Path(java.cmdline()[java.cmdline().index("-s") + 1]).parent
        listening = [c.laddr.ip for c in java.net_connections("tcp") if c.status == "LISTEN"]
        assert {ip.removeprefix("::ffff:") for ip in listening} == {"127.0.0.1"}
        drawn = picture(rival, {"n": 16, "class": 3, "seed": 1})
    assert 0 < rival.first_answer_s < rivals.START_S
    assert not [process for process in family if runs(process)]
    assert not private.exists()
    assert (tmp_path / "stock_torchserve.log").stat().st_size > 0
    with torch.no_grad():
        images = network(torch.from_numpy(latents_of(1, 16, 8)), torch.full((16,), 3))
    levels = np.rint((images.numpy().transpose(0, 2, 3, 1) + 1) * 127.5).astype(np.uint8)
    assert drawn.shape == (4 * (16 + 2) + 2, 4 * (16 + 2) + 2)
    assert np.abs(drawn.astype(int) - grid(levels)[:, :, 0]).max() <= LEVEL


@pytest.mark.slow
@pytest.mark.torchserve
def test_a_stock_worker_that_cannot_load_is_one_clear_error(stock_archive: tuple[Path, Any], tmp_path: Path) -> None:
    with zipfile.ZipFile(stock_archive[0]) as source, zipfile.ZipFile(tmp_path / "broken.mar", "w") as target:
        for name in source.namelist():
            extra = b"import no_such_package\n" if name == "stock_handler.py" else b""
            target.writestr(name, source.read(name) + extra)
    with (
        pytest.raises(RivalError, match=r"^its worker did not load the model: ModuleNotFoundError: .*no_such_package"),
        rivals.stock_torchserve(tmp_path / "broken.mar", folder=tmp_path),
    ):
        pytest.fail("it is not running")
