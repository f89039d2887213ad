"""A form that differs from the un-folded network anywhere is found; the figures are NumPy's own."""

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
from export.image_levels import add_image_levels
from export.onnx_writer import generator_to_onnx
from export.parity import (
    BATCH_SIZES,
    FOLD_ATOL,
    LEAST_IMAGES,
    ONNX_RUNTIME_ATOL,
    Draw,
    _Largest,
    in_onnx_runtime,
    in_torch,
    parity,
    reference_batches,
)
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
    unfolded, folded, model = request.getfixturevalue(which)
    batches = reference_batches(unfolded, 3)
    assert [len(batch.z) for batch in batches] == [1, 2, 7, 64, 64, 64, 64]
    assert BATCH_SIZES == (1, 2, 7, 64)
    assert LEAST_IMAGES == 256
    assert parity(in_torch(folded), batches, "folded", FOLD_ATOL).max_abs <= FOLD_ATOL == 1e-5
    found = parity(in_onnx_runtime(model), batches, "graph", ONNX_RUNTIME_ATOL)
    assert 0 < found.p999_abs <= found.max_abs <= ONNX_RUNTIME_ATOL == 1e-4
    assert 0 < found.mean_abs < found.p999_abs


def test_the_figures_are_numpys(forms: Forms) -> None:
    unfolded, _, model = forms
    batches = reference_batches(unfolded, 3)
    draw = in_onnx_runtime(model)
    found = parity(draw, batches, "graph", None)
    differences = np.concatenate([np.abs(draw(b.z, b.labels)[0] - b.images).ravel() for b in batches])
    assert found.max_abs == differences.max()
    assert found.mean_abs == pytest.approx(differences.mean(dtype=np.float64), rel=1e-6)
    above = (differences > found.p999_abs).mean()
    assert above <= 1e-3 < (differences >= found.p999_abs).mean() + 2e-5


def test_the_largest_of_many() -> None:
    values = np.random.default_rng(0).permutation(1000).astype(np.float32)
    largest = _Largest(10)
    for part in np.split(values, 8):
        largest.add(part)
    assert largest.descending().tolist() == list(range(999, 989, -1))


def test_uniform_latents_are_compared_on_uniform_latents(cnn_forms: Forms) -> None:
    batches = reference_batches(cnn_forms[0], 3)
    z = np.concatenate([batch.z for batch in batches])
    assert np.abs(z).max() <= 1
    assert np.abs(z).max() > 0.95
    assert all(batch.labels is None for batch in batches)


@pytest.mark.parametrize("which", ["forms", "cnn_forms"])
def test_a_folded_weight_that_is_off_is_found(which: str, request: pytest.FixtureRequest) -> None:
    unfolded, folded, _ = request.getfixturevalue(which)
    off = copy.deepcopy(folded)
    with torch.no_grad():
        off.conv.bias.add_(1e-4)
    with pytest.raises(VerificationError, match="folded differs"):
        parity(in_torch(off), reference_batches(unfolded, 3), "folded", FOLD_ATOL)


def test_a_graph_that_is_off_in_one_class_is_found(forms: Forms) -> None:
    unfolded, _, model = forms

    def shift_class_2(table: np.ndarray) -> None:
        table[2] += 0.05

    off = in_onnx_runtime(changed(model, [3, 8], shift_class_2))
    with pytest.raises(VerificationError, match="graph differs"):
        parity(off, reference_batches(unfolded, 3), "graph", ONNX_RUNTIME_ATOL)


def test_every_one_of_a_thousand_classes_is_met() -> None:
    config = find_preset("digits").override({"generator": {"channels": 4, "latent_dim": 8}})
    unfolded = build_generator(config, 1000, source=SigmaSource.FIXED).eval().requires_grad_(False)
    set_exact_sigma(unfolded)
    torch.manual_seed(0)
    for name, table in unfolded.named_parameters():
        if name.endswith((".scale.weight", ".shift.weight")):
            table.add_(0.1 * torch.randn_like(table))  # untrained ones are all equal
    model = generator_to_onnx(fold_spectral_norm(unfolded, config, 1000))
    batches = reference_batches(unfolded, 1000)
    assert {int(label) for batch in batches for label in batch.labels} == set(range(1000))
    parity(in_onnx_runtime(model), batches, "graph", ONNX_RUNTIME_ATOL)

    def shift_class_999(table: np.ndarray) -> None:
        table[999] += 0.05

    off = in_onnx_runtime(changed(model, [1000, 4], shift_class_999))
    with pytest.raises(VerificationError, match="graph differs"):
        parity(off, batches, "graph", ONNX_RUNTIME_ATOL)


def test_a_transposed_kernel_that_is_off_is_found(cnn_forms: Forms) -> None:
    unfolded, _, model = cnn_forms

    def shift(kernel: np.ndarray) -> None:
        kernel += 0.01

    off = in_onnx_runtime(changed(model, [32, 16, 4, 4], shift))
    with pytest.raises(VerificationError, match="graph differs"):
        parity(off, reference_batches(unfolded, 3), "graph", ONNX_RUNTIME_ATOL)


def test_weights_that_are_no_numbers_are_found(forms: Forms) -> None:
    damaged = copy.deepcopy(forms[0])
    with torch.no_grad():
        damaged.conv.weight[0, 0, 0, 0] = float("nan")
    with pytest.raises(VerificationError, match="not finite"):
        reference_batches(damaged, 3)
    with pytest.raises(VerificationError, match=r"folded: .* not finite"):
        parity(in_torch(damaged), reference_batches(forms[0], 3), "folded", FOLD_ATOL)


def test_levels_are_those_of_the_image(forms: Forms) -> None:
    unfolded, _, model = forms
    draw = in_onnx_runtime(add_image_levels(model))
    batches = reference_batches(unfolded, 3)
    assert draw(batches[1].z, batches[1].labels)[1] is not None
    parity(draw, batches, "graph", ONNX_RUNTIME_ATOL)

    def other_levels(z: np.ndarray, labels: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        images, levels = draw(z, labels)
        assert levels is not None
        return images, levels ^ 1

    with pytest.raises(VerificationError, match="image_u8"):
        parity(other_levels, batches, "graph", ONNX_RUNTIME_ATOL)


def _unsteady(draw: Draw) -> Draw:
    calls = iter(range(1000))
    return lambda z, labels: (draw(z, labels)[0] + np.float32(1e-6 * next(calls)), None)


def _depends_on_the_batch(draw: Draw) -> Draw:
    return lambda z, labels: (draw(z, labels)[0] + np.float32(2e-3 * (len(z) == 1 and abs(z[0, 0]) > 0)), None)


def _another_size(draw: Draw) -> Draw:
    return lambda z, labels: (draw(z, labels)[0][:, :, 1:], None)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_unsteady, "other bytes"),
        (_depends_on_the_batch, "alone"),
        (_another_size, "of shape"),
    ],
)
def test_what_else_is_refused(forms: Forms, spoil: Callable[[Draw], Draw], message: str) -> None:
    unfolded, folded, _ = forms
    batches = reference_batches(unfolded, 3)[1:]  # without the batch of one, whose images the second would change too
    with pytest.raises(VerificationError, match=message):
        parity(spoil(in_torch(folded)), batches, "form", 1e-3)
