import pytest
import torch

from export.errors import VerificationError
from export.fold import fold_spectral_norm, sigma_report
from sngan_train.checkpoint import open_checkpoint
from sngan_train.models import Generator
from sngan_train.models.spectral_norm import spectral_layers

FOLD_ATOL = 1e-5  # the bound that is promised; equal weights give equal sums, so 0 is expected


@pytest.fixture
def pair(tiny_run) -> tuple[Generator, Generator]:
    checkpoint = open_checkpoint(tiny_run)
    unfolded = checkpoint.load_generator_ema()
    return unfolded, fold_spectral_norm(unfolded, checkpoint.config, 3)


def test_folded_is_the_same_function(pair: tuple[Generator, Generator]) -> None:
    unfolded, folded = pair
    torch.manual_seed(0)
    z, labels = torch.randn(16, 8), torch.arange(16) % 3
    expected, images = unfolded(z, labels), folded(z, labels)
    assert (images - expected).abs().max() <= FOLD_ATOL
    assert images.std() > 0.01


def test_nothing_of_spectral_norm_is_left(pair: tuple[Generator, Generator]) -> None:
    unfolded, folded = pair
    assert len(list(spectral_layers(unfolded))) == 8
    assert not list(spectral_layers(folded))
    assert not [name for name in folded.state_dict() if name.rpartition(".")[2] in ("u", "v", "sigma")]


def test_each_folded_weight_has_the_lipschitz_constant_by_svd(pair: tuple[Generator, Generator]) -> None:
    unfolded, folded = pair
    for name, layer in spectral_layers(unfolded):
        weight = folded.get_submodule(name).weight
        assert torch.linalg.svdvals(weight.flatten(1))[0].item() == pytest.approx(1.5, rel=1e-3)
        assert torch.linalg.svdvals(layer.weight.flatten(1))[0].item() != pytest.approx(1.5, rel=1e-3)


def test_a_sigma_that_does_not_belong_to_its_weight_is_found(pair: tuple[Generator, Generator]) -> None:
    unfolded, folded = pair
    report = sigma_report(unfolded, folded, 1.5)
    assert [entry["layer"] for entry in report] == [name for name, _ in spectral_layers(unfolded)]
    with torch.no_grad():
        folded.get_submodule("linear").weight.mul_(1.01)
    with pytest.raises(VerificationError, match="layer linear"):
        sigma_report(unfolded, folded, 1.5)
