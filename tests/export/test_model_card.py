"""The card tells the truth about its folder, and its code runs."""

import dataclasses
import hashlib
import json
import re
import runpy
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from export.model_card import model_card, picture_latents
from export.pipeline import export_run
from handlers.metadata import GeneratorMetadata
from handlers.session import GeneratorSession, to_uint8

LICENCE = 'CC BY 4.0: "as is" [see](file)'


@pytest.fixture(scope="module")
def folder(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of a run with a record of metrics for its last checkpoint."""
    run = tmp_path_factory.mktemp("card") / "run"
    shutil.copytree(tiny_run, run)
    meta = run / "checkpoints" / "step-000004" / "meta.json"
    record = {
        "schema": "sngan-metrics/1",
        "step": 4,
        "headline": "KD(efficientnet-lite0)",
        "values": {"KD(efficientnet-lite0)": 0.12345, "class agreement": None},
        "protocol": {"name": "quick", "split": "train", "fake_images": 2000},
        "extractor": {"name": "efficientnet-lite0", "weights_sha256": "ab" * 32},
        "real": {"images": 5000},
        "generator": {"weights": "ema", "checkpoint_meta_sha256": hashlib.sha256(meta.read_bytes()).hexdigest()},
        "seed": 0,
        "notes": ["a note <b>of</b> it"],
        "environment": {"processor": "secret"},
    }
    (run / "metrics.jsonl").write_text(json.dumps(record) + "\n", encoding="utf-8")
    export_run(run, run / "export", licence=LICENCE)
    return run / "export"


@pytest.fixture(scope="module")
def card(folder: Path) -> str:
    return (folder / "README.md").read_text(encoding="utf-8")


def test_its_front_matter_is_yaml(card: str) -> None:
    front = yaml.safe_load(card.split("---\n")[1])
    assert front["license"] == LICENCE
    assert "onnx" in front["tags"]


def test_its_hashes_are_the_files(folder: Path, card: str) -> None:
    rows = re.findall(r"^\| `([^`]+)` \|.*\| `([0-9a-f]{64})` \|$", card, re.MULTILINE)
    assert {"generator.onnx", "generator-portable.onnx", "sngan.mar", "samples.png"} == {name for name, _ in rows}
    for name, digest in rows:
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest


def test_its_metrics_have_their_protocol(card: str) -> None:
    protocol = "| quick | 5000 of train | 2000 | efficientnet-lite0 `abababababab` |"
    assert f"| KD(efficientnet-lite0) (headline) | 0.1235 {protocol}" in card
    assert "| class agreement | not finite | quick |" in card
    assert "a note &lt;b>of&lt;/b> it" in card
    assert "secret" not in card


@pytest.mark.parametrize("which", ["tiny_run", "tiny_cnn_run"])
def test_its_eight_lines_draw(
    which: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export_run(request.getfixturevalue(which), tmp_path / "export")
    text = (tmp_path / "export" / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(code.splitlines()) == 8
    monkeypatch.chdir(tmp_path / "export")
    Path("example.py").write_text(code, encoding="utf-8")
    found = runpy.run_path("example.py")
    session = GeneratorSession(Path("generator.onnx"))
    label = None if session.metadata.num_classes == 0 else np.array([2, 2, 0, 0])
    expected = to_uint8(session.generate(found["z"], label))
    assert (found["pixels"] == expected).mean() > 0.999  # the levels of a value between two may differ
    with Image.open("first.png") as picture:
        assert picture.size == (session.metadata.width, session.metadata.height)


def test_words_of_others_are_no_markup() -> None:
    metadata = GeneratorMetadata(
        name="a|b",
        version="1",
        latent_dim=4,
        class_names=("<script>", "a_b*c", "x" * 5),
        channels=3,
        height=8,
        width=8,
        color_mode="RGB",
        training={"preset": "p", "step": 1, "weights": "w", "data": {"origin": "folder ![x](http://y)"}},
        verification={"num_images": 1, "batch_sizes": [1], "fold_max_abs": 0.0, "onnx_runtime_max_abs": 0.0},
    )
    text = model_card(metadata, {}, None)
    assert "<script>" not in text
    assert r"# a\|b" in text
    assert r"a\_b\*c" in text
    assert r"!\[x\](http" in text
    assert "Not stated" in text


@pytest.mark.parametrize(("classes", "rows"), [(1, 1), (3, 3), (1000, 10)])
def test_a_row_a_class_with_the_same_latents(classes: int, rows: int) -> None:
    metadata = GeneratorMetadata(
        name="n",
        version="1",
        latent_dim=5,
        class_names=tuple(map(str, range(classes))),
        channels=1,
        height=8,
        width=8,
        color_mode="L",
    )
    z, labels = picture_latents(metadata)
    assert labels is not None
    assert labels.tolist() == [row for row in range(rows) for _ in range(8)]
    assert np.array_equal(z[:8], z[-8:])
    z, labels = picture_latents(dataclasses.replace(metadata, class_names=()))
    assert labels is None
    assert len(np.unique(z, axis=0)) == 32
