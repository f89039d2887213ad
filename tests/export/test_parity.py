from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from export.errors import VerificationError
from export.fold import fold_spectral_norm
from export.onnx_writer import generator_to_onnx
from export.verify import BATCH_SIZES, FOLD_ATOL, ONNX_RUNTIME_ATOL, _labels, verify
from sngan_train.checkpoint import open_checkpoint
from sngan_train.models import Generator, build_generator
from sngan_train.models.spectral_norm import SigmaSource, set_exact_sigma
from sngan_train.presets import find_preset

Forms = tuple[Generator, Generator, onnx.ModelProto]


def forms_of(run: Path) -> Forms:
    checkpoint = open_checkpoint(run)
    unfolded = checkpoint.load_generator_ema()
    folded = fold_spectral_norm(unfolded, checkpoint.config, 3)
    return unfolded, folded, generator_to_onnx(folded)


@pytest.fixture(scope="module")
def forms(tiny_run: Path) -> Forms:
    return forms_of(tiny_run)


@pytest.fixture(scope="module")
def cnn_forms(tiny_cnn_run: Path) -> Forms:
    return forms_of(tiny_cnn_run)


def changed(model: onnx.ModelProto, dims: list[int], change: Callable[[np.ndarray], None]) -> onnx.ModelProto:
    """A copy of the graph whose first constant of shape `dims` is changed."""
    off = onnx.ModelProto()
    off.CopyFrom(model)
    constant = next(tensor for tensor in off.graph.initializer if list(tensor.dims) == dims)
    values = numpy_helper.to_array(constant).copy()
    change(values)
    constant.CopyFrom(numpy_helper.from_array(values, constant.name))
    return off


@pytest.mark.parametrize("which", ["forms", "cnn_forms"])
def test_equal_forms_pass_at_every_batch_size(which: str, request: pytest.FixtureRequest) -> None:
    result = verify(*request.getfixturevalue(which), num_classes=3)
    assert result.batch_sizes == BATCH_SIZES == (1, 2, 7, 64)
    assert result.num_images == 1 + 2 + 7 + 64
    assert result.fold_max_abs <= FOLD_ATOL == 1e-5
    assert result.onnx_runtime_max_abs <= ONNX_RUNTIME_ATOL == 1e-4


def test_uniform_latents_are_verified_with_uniform_latents(cnn_forms: Forms) -> None:
    unfolded, folded, model = cnn_forms
    seen = []

    def watch(module: object, inputs: tuple[torch.Tensor, ...]) -> None:
        seen.append(inputs[0])

    hook = folded.register_forward_pre_hook(watch)
    verify(unfolded, folded, model, 3)
    hook.remove()
    z = torch.cat(seen)
    assert z.abs().max() <= 1
    assert z.abs().max() > 0.95


@pytest.mark.parametrize("num_classes", [1, 3, 64, 65, 1000])
def test_which_classes_are_met(num_classes: int) -> None:
    met = set(_labels(64, num_classes).tolist())
    assert len(met) == min(num_classes, 64)
    assert {0, num_classes - 1} <= met <= set(range(num_classes))


@pytest.mark.parametrize("which", ["forms", "cnn_forms"])
def test_a_folded_weight_that_is_off_is_found(which: str, request: pytest.FixtureRequest) -> None:
    unfolded, folded, model = request.getfixturevalue(which)
    off = copy.deepcopy(folded)
    with torch.no_grad():
        off.conv.bias.add_(1e-4)
    with pytest.raises(VerificationError, match="folded PyTorch differs"):
        verify(unfolded, off, model, 3)


def test_a_graph_that_is_off_in_one_class_is_found(forms: Forms) -> None:
    unfolded, folded, model = forms

    def shift_class_2(table: np.ndarray) -> None:
        table[2] += 0.05

    with pytest.raises(VerificationError, match="ONNX Runtime differs"):
        verify(unfolded, folded, changed(model, [3, 8], shift_class_2), 3)


def test_a_graph_that_is_off_in_a_class_that_no_image_met_is_found() -> None:
    settings = {"generator": {"channels": 4, "latent_dim": 8}}
    config = find_preset("digits").override(settings)
    unfolded = build_generator(config, 1000, source=SigmaSource.FIXED).eval().requires_grad_(False)
    set_exact_sigma(unfolded)
    torch.manual_seed(0)
    for name, table in unfolded.named_parameters():
        if name.endswith((".scale.weight", ".shift.weight")):
            table.add_(0.1 * torch.randn_like(table))  # untrained ones are all equal
    folded = fold_spectral_norm(unfolded, config, 1000)
    model = generator_to_onnx(folded)
    assert 500 not in _labels(64, 1000)
    assert verify(unfolded, folded, model, 1000).num_images == 74

    def shift_class_500(table: np.ndarray) -> None:
        table[500] += 0.05

    with pytest.raises(VerificationError, match="the graph's table of blocks"):
        verify(unfolded, folded, changed(model, [1000, 4], shift_class_500), 1000)


def test_a_transposed_kernel_that_is_off_is_found(cnn_forms: Forms) -> None:
    unfolded, folded, model = cnn_forms

    def shift(kernel: np.ndarray) -> None:
        kernel += 0.01

    with pytest.raises(VerificationError, match="ONNX Runtime differs"):
        verify(unfolded, folded, changed(model, [32, 16, 4, 4], shift), 3)


def test_weights_that_are_no_numbers_are_found(forms: Forms) -> None:
    unfolded, folded, model = forms
    damaged = copy.deepcopy(unfolded)
    with torch.no_grad():
        damaged.conv.weight[0, 0, 0, 0] = float("nan")
    with pytest.raises(VerificationError, match="not finite"):
        verify(damaged, folded, model, 3)
