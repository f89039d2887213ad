"""Both networks: golden sizes, and the blocks against a second writing of the official ones."""

import torch
from torch.nn import functional

from sngan_train.models import build_discriminator, build_generator
from sngan_train.models.blocks import DiscriminatorBlock, FirstDiscriminatorBlock, GeneratorBlock
from sngan_train.models.resampling import ResamplingForm
from sngan_train.models.spectral_norm import PLAIN, SigmaSource, power_iteration, spectral_layers
from sngan_train.presets import find_preset

# Parameter counts of the CIFAR-10 networks, conditional on ten classes. The generator's is also what StudioGAN's
# log prints; the discriminator's head has no bias, as in the official code at 32 pixels.
GENERATOR_PARAMETERS = 4_304_387
DISCRIMINATOR_PARAMETERS = 1_055_104
ATOL = 1e-5  # float32, the same products in another order


def count(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_golden_parameter_counts() -> None:
    config = find_preset("cifar10")
    assert count(build_generator(config, 10, source=SigmaSource.POWER_ITERATION)) == GENERATOR_PARAMETERS
    assert count(build_discriminator(config, 10)) == DISCRIMINATOR_PARAMETERS


def test_shapes_and_ranges() -> None:
    for preset, channels, size in (("digits", 1, 16), ("cifar10", 3, 32)):
        config = find_preset(preset).override({"generator": {"channels": 8}, "discriminator": {"channels": 8}})
        generator = build_generator(config, 4, source=SigmaSource.POWER_ITERATION)
        power_iteration(generator, 15)
        images = generator(torch.randn(5, 128), torch.arange(5) % 4)
        assert images.shape == (5, channels, size, size)
        assert images.abs().max() <= 1.0
        logits = build_discriminator(config, 4)(images, torch.arange(5) % 4)
        assert logits.shape == (5,)


def test_both_forms_of_the_networks_are_one_function() -> None:
    torch.manual_seed(0)
    config = find_preset("digits").override({"generator": {"channels": 8}, "discriminator": {"channels": 8}})
    z, labels, x = torch.randn(6, 128), torch.arange(6), torch.randn(6, 1, 16, 16)
    outputs = []
    plain_g = build_generator(config, 10, source=SigmaSource.POWER_ITERATION)
    plain_d = build_discriminator(config, 10)
    for network in (plain_g, plain_d):
        power_iteration(network, 15)
    for form in ResamplingForm:
        generator = build_generator(config, 10, source=SigmaSource.POWER_ITERATION, form=form)
        discriminator = build_discriminator(config, 10, form=form)
        generator.load_state_dict(plain_g.state_dict())
        discriminator.load_state_dict(plain_d.state_dict())
        outputs.append((generator(z, labels), discriminator(x, labels)))
    assert torch.allclose(outputs[0][0], outputs[1][0], atol=ATOL)
    assert torch.allclose(outputs[0][1], outputs[1][1], rtol=1e-4, atol=ATOL)
    assert outputs[0][0].std() > 0.05  # alive, and not saturated into equality
    assert outputs[0][0].abs().median() < 0.99


def test_spectral_norm_covers_the_right_layers() -> None:
    config = find_preset("digits")
    generator = build_generator(config, 10, source=SigmaSource.POWER_ITERATION)
    names = [name for name, _ in spectral_layers(generator)]
    assert len(names) == 1 + 2 * 3 + 1  # linear, three convolutions a block, the last
    assert not [name for name in names if "scale" in name or "shift" in name]  # never the class tables
    discriminator = build_discriminator(config, 10)
    covered = dict(spectral_layers(discriminator))
    parameters = {name.removesuffix(".weight") for name, _ in discriminator.named_parameters() if "weight" in name}
    assert set(covered) == parameters
    plain = build_generator(
        config.override({"generator": {"spectral_norm": False}}), 10, source=SigmaSource.POWER_ITERATION
    )
    assert not list(spectral_layers(plain))


def test_generator_block_is_the_official_one() -> None:
    torch.manual_seed(1)
    block = GeneratorBlock(4, 6, 3, PLAIN, ResamplingForm.FUSED)
    x, labels = torch.randn(5, 4, 4, 4), torch.tensor([0, 1, 2, 1, 0])

    def norm(h: torch.Tensor, layer) -> torch.Tensor:
        mean, variance = (
            h.mean(dim=(0, 2, 3), keepdim=True),
            h.var(dim=(0, 2, 3), unbiased=False, keepdim=True),
        )
        scale, shift = layer.scale.weight[labels], layer.shift.weight[labels]
        return scale[:, :, None, None] * (h - mean) / (variance + 2e-5).sqrt() + shift[:, :, None, None]

    torch.nn.init.normal_(block.norm1.scale.weight)
    torch.nn.init.normal_(block.norm1.shift.weight)
    double = {"scale_factor": 2, "mode": "nearest"}
    h = functional.interpolate(norm(x, block.norm1).relu(), **double)
    h = functional.conv2d(h, block.conv1.weight, block.conv1.bias, padding=1)
    h = functional.conv2d(norm(h, block.norm2).relu(), block.conv2.weight, block.conv2.bias, padding=1)
    shortcut = functional.conv2d(functional.interpolate(x, **double), block.shortcut.weight, block.shortcut.bias)
    assert torch.allclose(block(x, labels), h + shortcut, atol=1e-4)


def test_discriminator_blocks_are_the_official_ones() -> None:
    torch.manual_seed(2)
    x = torch.randn(2, 4, 8, 8)

    def conv(h: torch.Tensor, layer, padding: int) -> torch.Tensor:
        return functional.conv2d(h, layer.weight, layer.bias, padding=padding)

    first = FirstDiscriminatorBlock(4, 6, PLAIN, ResamplingForm.FUSED)
    expected = functional.avg_pool2d(conv(conv(x, first.conv1, 1).relu(), first.conv2, 1), 2)
    expected = expected + conv(functional.avg_pool2d(x, 2), first.shortcut, 0)
    assert torch.allclose(first(x), expected, atol=ATOL)

    down = DiscriminatorBlock(4, 6, PLAIN, ResamplingForm.FUSED, downsamples=True)
    assert down.conv1.weight.shape[0] == 4  # the hidden width is the input's
    expected = functional.avg_pool2d(conv(conv(x.relu(), down.conv1, 1).relu(), down.conv2, 1), 2)
    expected = expected + functional.avg_pool2d(conv(x, down.shortcut, 0), 2)  # the official order
    assert torch.allclose(down(x), expected, atol=ATOL)

    same = DiscriminatorBlock(4, 4, PLAIN, ResamplingForm.FUSED, downsamples=False)
    expected = conv(conv(x.relu(), same.conv1, 1).relu(), same.conv2, 1) + x
    assert torch.allclose(same(x), expected, atol=ATOL)


def test_projection_is_the_inner_product_with_the_class_embedding() -> None:
    torch.manual_seed(3)
    discriminator = build_discriminator(find_preset("digits").override({"discriminator": {"channels": 8}}), 3)
    x = torch.randn(2, 1, 16, 16)
    a = discriminator(x, torch.tensor([0, 0])) - discriminator(x, torch.tensor([1, 1]))
    features = discriminator.blocks(x).relu().sum(dim=(2, 3))
    table = discriminator.class_embedding.normalized_weight()
    assert torch.allclose(a, features @ (table[0] - table[1]), atol=1e-4)
