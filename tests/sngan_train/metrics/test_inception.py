"""The Inception extractor with random weights: how the file is found and checked, and that folding changes nothing.

The published file is not part of the tests, so no test here knows a published FID.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from sngan_train.errors import DataError
from sngan_train.metrics.extractor import load_extractor

pytest.importorskip("torch_fidelity", reason="the extra `evaluate` is not installed")

from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from sngan_train.metrics import inception
from sngan_train.metrics.inception import find_weights, load_inception, published_network

CPU = torch.device("cpu")
FOLD_TOLERANCE = 1e-4  # relative to the norm; float32 sums in another order through 94 convolutions, about 2e-6
CONTENT = b"what the file holds"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
NAME = "weights-6726825d.pth"


@pytest.fixture(scope="module")
def random_weights() -> bytes:
    """A state of the real architecture, with weights that keep the activations' size."""
    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng():
        torch.manual_seed(0)
        patch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None)
        network = published_network(_saved({}))
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=torch.Generator().manual_seed(1))
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.copy_(torch.linspace(-0.1, 0.1, module.num_features))
            module.running_var.copy_(torch.linspace(0.5, 1.5, module.num_features))
    return _saved(network.state_dict())


def _saved(state: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def _images(count: int) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randint(0, 256, (count, 3, 16, 16), generator=generator, dtype=torch.uint8)


@pytest.fixture(scope="module")
def extractor(
    random_weights: bytes, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[inception.InceptionExtractor]:
    file = tmp_path_factory.mktemp("weights") / NAME
    file.write_bytes(random_weights)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inception, "CHUNK", 2)
        yield load_inception(CPU, weights=file, sha256=hashlib.sha256(random_weights).hexdigest())


def test_features_are_torch_fidelitys(extractor: inception.InceptionExtractor, random_weights: bytes) -> None:
    images = _images(3)
    found = extractor(images)
    original = FeatureExtractorInceptionV3(
        "original", ["2048", "logits_unbiased"], feature_extractor_weights_path=io.BytesIO(random_weights)
    )
    with torch.inference_mode():
        features, logits = original(images)
    assert found.features.shape == (3, 2048)
    assert found.logits.shape == (3, 1008)
    assert float((found.features - features).norm() / features.norm()) < FOLD_TOLERANCE
    assert float((found.logits - logits).norm() / logits.norm()) < FOLD_TOLERANCE
    assert float(original.fc.bias.abs().max()) > 0.0  # so that a bias would show
    without_bias = found.features @ original.fc.weight.T
    torch.testing.assert_close(found.logits, without_bias, rtol=1e-3, atol=1e-4)  # sums of 2048 in another order


def test_neither_batch_size_nor_colour_channels_matter(extractor: inception.InceptionExtractor) -> None:
    images = _images(3)[:, :1]
    together = extractor(images).features
    assert torch.equal(extractor(images[2:]).features, together[2:])
    assert torch.equal(extractor(images[:1].repeat(1, 3, 1, 1)).features, together[:1])


def test_facts_are_complete(extractor: inception.InceptionExtractor, random_weights: bytes) -> None:
    assert dataclasses.asdict(extractor.facts) == {
        "name": "inception",
        "feature_dim": 2048,
        "input_size": 299,
        "resize": inception.RESIZE,
        "precision": "float32",
        "weights_sha256": hashlib.sha256(random_weights).hexdigest(),
    }


def test_the_known_hash_is_the_published_names() -> None:
    assert len(inception.WEIGHTS_SHA256) == 64
    assert inception.URL_INCEPTION_V3.endswith(f"-{inception.WEIGHTS_SHA256[:8]}.pth")


def test_given_file_must_be_the_published_one(tmp_path: Path) -> None:
    file = tmp_path / "other.pth"
    with pytest.raises(DataError, match=r"other\.pth: No such file"):
        load_extractor("inception", CPU, inception_weights=file)
    file.write_bytes(CONTENT)
    with pytest.raises(DataError, match=f"begins {SHA256[:8]}, not 6726825d; get it from https://.*efficientnet-lite0"):
        load_extractor("inception", CPU, inception_weights=file)


def test_no_code_of_a_file_is_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[Path]]:
            return Path.touch, (tmp_path / "sprung",)

    with pytest.raises(pickle.UnpicklingError):
        published_network(_saved({"weight": Trap()}))
    assert not (tmp_path / "sprung").exists()


def test_first_intact_file_is_taken(tmp_path: Path) -> None:
    hub, cache, said = tmp_path / "hub", tmp_path / "cache", []
    for folder in (hub, cache):
        folder.mkdir()
    (hub / NAME).write_bytes(CONTENT[:-1])
    (cache / NAME).write_bytes(CONTENT)
    assert find_weights(said.append, sha256=SHA256, url=f"file:///nowhere/{NAME}", folders=(hub, cache)) == CONTENT
    assert len(said) == 1
    assert f"{hub / NAME} is damaged" in said[0]


def test_default_folders_are_torch_hubs_and_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(inception, "CACHE", tmp_path / "cache")
    checkpoints = tmp_path / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    (checkpoints / NAME).write_bytes(CONTENT)
    assert find_weights(sha256=SHA256, url=f"file:///nowhere/{NAME}") == CONTENT


def test_downloaded_once(tmp_path: Path) -> None:
    source, cache, said = tmp_path / NAME, tmp_path / "new" / "cache", []
    source.write_bytes(CONTENT)
    assert find_weights(said.append, sha256=SHA256, url=source.as_uri(), folders=(cache,)) == CONTENT
    assert [file.name for file in cache.iterdir()] == [NAME]
    assert "downloading" in said[0]
    source.unlink()
    assert find_weights(said.append, sha256=SHA256, url=source.as_uri(), folders=(cache,)) == CONTENT
    assert len(said) == 1


def test_wrong_download_leaves_nothing(tmp_path: Path) -> None:
    source, cache = tmp_path / NAME, tmp_path / "cache"
    source.write_bytes(CONTENT[:-1])
    with pytest.raises(DataError, match="invalid hash value"):
        find_weights(sha256=SHA256, url=source.as_uri(), folders=(cache,))
    assert list(cache.iterdir()) == []


def test_no_internet_says_how_to_go_on(tmp_path: Path) -> None:
    url = (tmp_path / NAME).as_uri()
    with pytest.raises(DataError, match="could not be downloaded") as caught:
        find_weights(sha256=SHA256, url=url, folders=(tmp_path / "cache",))
    text = str(caught.value)
    assert "\n" not in text
    for needed in (url, "--inception-weights FILE", "--features efficientnet-lite0"):
        assert needed in text
