import copy
from pathlib import Path

import onnx
import pytest
import torch
from onnx import numpy_helper

from export.errors import VerificationError
from export.fold import fold_spectral_norm
from export.onnx_writer import generator_to_onnx
from export.verify import BATCH_SIZES, FOLD_ATOL, ONNX_RUNTIME_ATOL, verify
from sngan_train.checkpoint import open_checkpoint
from sngan_train.models import Generator

Forms = tuple[Generator, Generator, onnx.ModelProto]


@pytest.fixture(scope="module")
def forms(tiny_run: Path) -> Forms:
    checkpoint = open_checkpoint(tiny_run)
    unfolded = checkpoint.load_generator_ema()
    folded = fold_spectral_norm(unfolded, checkpoint.config, 3)
    return unfolded, folded, generator_to_onnx(folded, 8, 3)


def test_equal_forms_pass_at_every_batch_size_and_class(forms: Forms) -> None:
    result = verify(*forms, latent_dim=8, num_classes=3)
    assert result.batch_sizes == BATCH_SIZES == (1, 2, 7, 64)
    assert result.num_images == 3 * 1 + 2 * 2 + 7 + 64
    assert result.fold_max_abs <= FOLD_ATOL == 1e-5
    assert result.onnx_runtime_max_abs <= ONNX_RUNTIME_ATOL == 1e-4


def test_a_folded_weight_that_is_off_is_found(forms: Forms) -> None:
    unfolded, folded, model = forms
    off = copy.deepcopy(folded)
    with torch.no_grad():
        off.conv.bias.add_(1e-4)
    with pytest.raises(VerificationError, match="folded PyTorch differs"):
        verify(unfolded, off, model, 8, 3)


def test_a_graph_that_is_off_in_one_class_is_found(forms: Forms) -> None:
    unfolded, folded, model = forms
    off = onnx.ModelProto()
    off.CopyFrom(model)
    table = next(tensor for tensor in off.graph.initializer if list(tensor.dims) == [3, 8])
    values = numpy_helper.to_array(table).copy()
    values[2] += 0.05
    table.CopyFrom(numpy_helper.from_array(values, table.name))
    with pytest.raises(VerificationError, match="ONNX Runtime differs"):
        verify(unfolded, folded, off, 8, 3)


def test_weights_that_are_no_numbers_are_found(forms: Forms) -> None:
    unfolded, folded, model = forms
    damaged = copy.deepcopy(unfolded)
    with torch.no_grad():
        damaged.conv.weight[0, 0, 0, 0] = float("nan")
    with pytest.raises(VerificationError, match="not finite"):
        verify(damaged, folded, model, 8, 3)
