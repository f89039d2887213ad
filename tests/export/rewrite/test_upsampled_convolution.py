"""The pattern, and every form it is rewritten into, against torch's upsampling and convolution."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch.nn import functional

from export.rewrite.rewriting import Rewrite
from export.rewrite.upsampling_as_phases import UPSAMPLING_AS_PHASES
from export.rewrite.upsampling_as_shared_products import UPSAMPLING_AS_SHARED_PRODUCTS
from export.rewrite.upsampling_as_shared_rows import UPSAMPLING_AS_SHARED_ROWS
from export.rewrite.upsampling_as_stacked import UPSAMPLING_AS_STACKED
from export.rewrite.upsampling_as_transposed import UPSAMPLING_AS_TRANSPOSED

Prove = Callable[..., onnx.ModelProto]
Stays = Callable[..., None]

FORMS = {
    UPSAMPLING_AS_PHASES: {"Conv": 4, "Concat": 1, "DepthToSpace": 1},
    UPSAMPLING_AS_STACKED: {"Conv": 1, "Slice": 4, "Concat": 1, "DepthToSpace": 1},
    UPSAMPLING_AS_TRANSPOSED: {"ConvTranspose": 1},
    UPSAMPLING_AS_SHARED_ROWS: {"Conv": 2 + 6, "Add": 4, "Concat": 1, "DepthToSpace": 1},
    UPSAMPLING_AS_SHARED_PRODUCTS: {"Conv": 8 + 9, "Add": 10, "Concat": 1, "DepthToSpace": 1},
}
# Products an input pixel, input and output channel; of the plain form it is 4 · 9.
PRODUCTS = {
    UPSAMPLING_AS_PHASES: 16,
    UPSAMPLING_AS_STACKED: 16,
    UPSAMPLING_AS_TRANSPOSED: 16,
    UPSAMPLING_AS_SHARED_ROWS: 12,
    UPSAMPLING_AS_SHARED_PRODUCTS: 9,
}
every_form = pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)

RESIZE = 'Resize <mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor">'
SIGNATURE = "(float[batch, 2, 4, 6] x) => (float[batch, 3, 8, 12] y) <float[4] scales = {1, 1, 2, 2}>"


@pytest.fixture
def constants(random: np.random.Generator) -> dict[str, np.ndarray]:
    return {
        "w": random.standard_normal((3, 2, 3, 3), dtype=np.float32),
        "bias": random.standard_normal(3, dtype=np.float32),
    }


@pytest.fixture
def x(random: np.random.Generator) -> np.ndarray:
    return random.standard_normal((2, 2, 4, 6), dtype=np.float32)


def in_torch(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
    upsampled = functional.interpolate(torch.from_numpy(x), scale_factor=2.0, mode="nearest")
    given = None if bias is None else torch.from_numpy(bias)
    return functional.conv2d(upsampled, torch.from_numpy(weight), given, padding=1).numpy()


@every_form
@pytest.mark.parametrize("resize", [RESIZE, 'Resize <mode = "nearest">'], ids=["asymmetric", "half_pixel"])
def test_the_form_is_the_same_function(
    form: Rewrite[Any], resize: str, prove: Prove, constants: dict, x: np.ndarray
) -> None:
    text = f"{SIGNATURE} {{ u = {resize} (x, , scales)  y = Conv <pads = [1, 1, 1, 1]> (u, w, bias) }}"
    after = prove(form, text, constants, {"x": x}, in_torch(x, constants["w"], constants["bias"]))
    assert Counter(node.op_type for node in after.graph.node) == FORMS[form]
    assert after.graph.node[-1].output == ["y"]


@every_form
def test_two_of_them_without_bias_that_share_a_weight(
    form: Rewrite[Any], prove: Prove, random: np.random.Generator
) -> None:
    weight = random.standard_normal((2, 2, 3, 3), dtype=np.float32) * 0.3
    x = random.standard_normal((2, 2, 3, 5), dtype=np.float32)
    text = f"""(float[batch, 2, 3, 5] x) => (float[batch, 2, 12, 20] y) <float[4] scales = {{1, 1, 2, 2}}> {{
        u = {RESIZE} (x, , scales)
        h = Conv <pads = [1, 1, 1, 1]> (u, w)
        v = {RESIZE} (h, , scales)
        y = Conv <pads = [1, 1, 1, 1]> (v, w)
    }}"""
    expected = in_torch(in_torch(x, weight, None), weight, None)
    prove(form, text, {"w": weight}, {"x": x}, expected, times=2)


@every_form
@pytest.mark.parametrize(
    ("signature", "resize", "pads"),
    [
        pytest.param(SIGNATURE.replace("8, 12", "6, 10"), RESIZE, 0, id="another padding"),
        pytest.param(SIGNATURE.replace("8, 12", "8, 6").replace("1, 2, 2", "1, 2, 1"), RESIZE, 1, id="another scale"),
        pytest.param(SIGNATURE, RESIZE.replace("nearest", "linear", 1), 1, id="another mode"),
    ],
)
def test_what_does_not_fit_stays(
    form: Rewrite[Any], signature: str, resize: str, pads: int, stays: Stays, constants: dict
) -> None:
    conv = f"Conv <pads = [{pads}, {pads}, {pads}, {pads}]>"
    stays(form, f"{signature} {{ u = {resize} (x, , scales)  y = {conv} (u, w, bias) }}", constants)


@every_form
def test_an_upsampled_image_with_another_reader_stays(form: Rewrite[Any], stays: Stays, constants: dict) -> None:
    conv = "Conv <pads = [1, 1, 1, 1]>"
    text = f"{SIGNATURE} {{ u = {RESIZE} (x, , scales)  c = {conv} (u, w, bias)  d = {conv} (u, w)  y = Add(c, d) }}"
    stays(form, text, constants)


@every_form
def test_the_products_that_the_form_promises(form: Rewrite[Any], prove: Prove, constants: dict, x: np.ndarray) -> None:
    """Every weight between channels meets every input pixel once, so products are counted in the kernels."""
    text = f"{SIGNATURE} {{ u = {RESIZE} (x, , scales)  y = Conv <pads = [1, 1, 1, 1]> (u, w, bias) }}"
    after = prove(form, text, constants, {"x": x}, in_torch(x, constants["w"], constants["bias"]))
    num_outputs, num_inputs = constants["w"].shape[:2]
    between_channels = [c for c in after.graph.initializer if len(c.dims) == 4 and c.dims[1] != 1]
    num_weights = sum(int(np.prod(constant.dims)) for constant in between_channels)
    assert num_weights == PRODUCTS[form] * num_outputs * num_inputs
