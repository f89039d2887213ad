"""The fused forms against the plain ones, which are torch's own operations."""

import pytest
import torch

from sngan_train.models.resampling import ResamplingForm, convolution_downsample, upsample_convolution

ATOL = 1e-5  # float32 sums of 5·9 products in another order


@pytest.mark.parametrize("operation", [upsample_convolution, convolution_downsample])
@pytest.mark.parametrize("bias", [True, False])
def test_fused_equals_plain(operation, bias: bool) -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(2, 5, 8, 6), torch.randn(7, 5, 3, 3)
    b = torch.randn(7) if bias else None
    plain = operation(x, weight, b, ResamplingForm.PLAIN)
    fused = operation(x, weight, b, ResamplingForm.FUSED)
    assert fused.shape == plain.shape
    assert torch.allclose(fused, plain, atol=ATOL)
    assert plain.std() > 1.0  # not equal because both are nothing


@pytest.mark.parametrize("operation", [upsample_convolution, convolution_downsample])
def test_gradients_agree_too(operation) -> None:
    torch.manual_seed(1)
    x, weight = torch.randn(2, 3, 4, 4), torch.randn(4, 3, 3, 3)
    gradients = []
    for form in ResamplingForm:
        leaf = weight.clone().requires_grad_(True)
        operation(x, leaf, None, form).square().sum().backward()
        gradients.append(leaf.grad)
    assert torch.allclose(gradients[0], gradients[1], rtol=1e-4, atol=1e-3)
