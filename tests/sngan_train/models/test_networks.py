"""Both networks: golden sizes, and the blocks against a second writing of the official ones."""

import pytest
import torch
from torch.nn import functional

from sngan_train.config import CONDITIONINGS, IMAGE_SIZES, NETWORKS, NORMALIZATIONS, STANDARD_CNN_SIZES, RunConfig
from sngan_train.errors import ConfigError
from sngan_train.models import build_discriminator, build_generator, weight_layers
from sngan_train.models.resampling import ResamplingForm
from sngan_train.models.residual_blocks import DiscriminatorBlock, FirstDiscriminatorBlock, GeneratorBlock
from sngan_train.models.spectral_norm import SigmaSource, power_iteration, spectral_layers
from sngan_train.models.standard_cnn import CNNDiscriminator, CNNGenerator, Variant
from sngan_train.models.weight_rule import PLAIN
from sngan_train.presets import find_preset

# (preset, classes, generator's parameters, discriminator's): counted by hand from the paper's tables and the official
# code. 4,304,387 and 41,996,931 are also what StudioGAN's logs print for these generators.
GOLDEN_PARAMETERS = [
    ("cifar10", 10, 4_304_387, 1_055_104),
    ("projection/cifar10", 10, 4_304_387, 1_055_104),
    ("paper/cifar10-resnet/sn", 10, 4_276_739, 1_053_824),
    ("paper/stl10-resnet/sn", 1, 4_878_083, 10_141_440),
    ("paper/imagenet128-unconditional-sn", 1000, 32_150_787, 29_017_857),
    ("projection/imagenet128", 1000, 41_996_931, 30_041_857),
    ("paper/imagenet128-sn", 1000, 41_996_931, 30_538_625),
    ("paper/cifar10-cnn/sn/C", 10, 3_812_355, 2_935_873),
    ("paper/stl10-cnn/sn/B", 1, 5_133_315, 2_946_113),
]
# StudioGAN's discriminator has the bias that the official one lacks at 32 pixels.
CIFAR_DISCRIMINATOR_WITH_HEAD_BIAS = 1_055_105
CHAINER_GAN_LIB_DISCRIMINATOR = 5_860_865
ATOL = 1e-5  # float32, the same products in another order


def count(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(("preset", "num_classes", "generator", "discriminator"), GOLDEN_PARAMETERS)
def test_golden_parameter_counts(preset: str, num_classes: int, generator: int, discriminator: int) -> None:
    config = find_preset(preset)
    with torch.device("meta"):  # counting needs no numbers
        assert count(build_generator(config, num_classes, source=SigmaSource.NONE)) == generator
        assert count(build_discriminator(config, num_classes)) == discriminator


def test_the_other_discriminators_in_use_have_the_sizes_that_are_known_of_them() -> None:
    config = find_preset("cifar10")
    assert count(build_discriminator(config, 10)) + 1 == CIFAR_DISCRIMINATOR_WITH_HEAD_BIAS
    old = find_preset("paper/cifar10-cnn/sn/C").override({"discriminator": {"network": "cnn-chainer-gan-lib"}})
    assert count(build_discriminator(old, 10)) == CHAINER_GAN_LIB_DISCRIMINATOR


def narrow(image_size: int, network: str = "resnet", conditioning: str = "projection", channels: int = 3) -> RunConfig:
    return RunConfig.from_dict(
        {
            "data": {"image_size": image_size, "channels": channels},
            "generator": {"network": network, "channels": 4},
            "discriminator": {"network": network, "channels": 4, "conditioning": conditioning},
        }
    )


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("image_size", IMAGE_SIZES)
@pytest.mark.parametrize("conditioning", CONDITIONINGS)
@pytest.mark.parametrize("channels", [1, 3])
def test_shapes_and_ranges(network: str, image_size: int, conditioning: str, channels: int) -> None:
    if network != "resnet" and (image_size not in STANDARD_CNN_SIZES or conditioning == "concat"):
        with pytest.raises(ConfigError, match="resnet"):
            narrow(image_size, network, conditioning, channels)
        return
    config = narrow(image_size, network, conditioning, channels)
    generator = build_generator(config, 4, source=SigmaSource.POWER_ITERATION)
    power_iteration(generator, 15)
    labels = torch.arange(3)
    images = generator(torch.randn(3, 128), labels)
    assert images.shape == (3, channels, image_size, image_size)
    assert images.abs().max() <= 1.0
    discriminator = build_discriminator(config, 4)
    logits = discriminator(images, labels)
    assert logits.shape == (3,)
    assert logits.dtype is torch.float32
    with torch.no_grad():
        other = discriminator(images, (labels + 1) % 4)
    assert torch.equal(logits, other) == (conditioning == "none")  # the class counts where it should


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("network", NETWORKS)
def test_every_method_gives_every_parameter_a_gradient(network: str, normalization: str) -> None:
    torch.manual_seed(0)
    config = narrow(32, network).override({"discriminator": {"normalization": normalization}})
    discriminator = build_discriminator(config, 4)
    discriminator(torch.randn(6, 3, 32, 32), torch.arange(6) % 4).square().sum().backward()
    missing = [name for name, value in discriminator.named_parameters() if value.grad is None or not value.grad.any()]
    assert not missing


def test_paper_cnns_are_the_printed_table() -> None:
    """Table 3 written down again as torch's own layers, with the same weights."""
    torch.manual_seed(0)
    config = find_preset("paper/cifar10-cnn/none/C").override(
        {"generator": {"channels": 4}, "discriminator": {"channels": 4}}
    )
    discriminator = build_discriminator(config, 1)
    layers: list[torch.nn.Module] = []
    for number, (inputs, outputs) in enumerate([(3, 4), (4, 4), (4, 8), (8, 8), (8, 16), (16, 16), (16, 32)]):
        kernel, stride = ((3, 1), (4, 2))[number % 2]
        layers += [torch.nn.Conv2d(inputs, outputs, kernel, stride, 1), torch.nn.LeakyReLU(0.1)]
    printed = torch.nn.Sequential(*layers, torch.nn.Flatten(), torch.nn.Linear(32 * 4 * 4, 1))
    copy_in_order(discriminator, printed)
    x = torch.randn(2, 3, 32, 32)
    assert torch.allclose(discriminator(x), printed(x)[:, 0], atol=ATOL)
    assert isinstance(discriminator, CNNDiscriminator)

    generator = build_generator(config, 1, source=SigmaSource.NONE)
    layers = [torch.nn.Linear(128, 32 * 4 * 4), torch.nn.Unflatten(1, (32, 4, 4))]
    for inputs, outputs in [(32, 16), (16, 8), (8, 4)]:
        layers += [
            torch.nn.ConvTranspose2d(inputs, outputs, 4, 2, 1),
            torch.nn.BatchNorm2d(outputs, eps=2e-5),
            torch.nn.ReLU(),
        ]
    printed = torch.nn.Sequential(*layers, torch.nn.Conv2d(4, 3, 3, 1, 1), torch.nn.Tanh())
    copy_in_order(generator, printed)
    z = torch.randn(5, 128)
    assert torch.allclose(generator(z), printed(z), atol=ATOL)
    assert isinstance(generator, CNNGenerator)


def copy_in_order(ours: torch.nn.Module, printed: torch.nn.Module) -> None:
    """Weights of two dimensions or more by order of appearance; they must match one to one in shape."""
    own = [value for value in ours.parameters() if value.dim() > 1]
    theirs = [value for value in printed.parameters() if value.dim() > 1]
    assert [value.shape for value in own] == [value.shape for value in theirs]
    with torch.no_grad():
        for target, value in zip(theirs, own, strict=True):
            target.copy_(value)
    for value in printed.parameters():
        if value.dim() == 1 and value.numel() and not bool((value == 1).all()):
            torch.nn.init.zeros_(value)


def test_chainer_gan_lib_has_a_norm_after_the_linear_layer_and_other_slopes() -> None:
    config = narrow(32, "cnn-chainer-gan-lib", "none")
    generator = build_generator(config, 1, source=SigmaSource.NONE)
    assert generator.first_norm is not None
    assert build_generator(narrow(32, "cnn"), 1, source=SigmaSource.NONE).first_norm is None
    assert build_discriminator(config, 1).slope == 0.2
    assert Variant("cnn") is Variant.PAPER


def test_concat_joins_the_class_inside_the_network() -> None:
    """The channels that the class brings are the embedding's 128, constant over the pixels."""
    torch.manual_seed(0)
    discriminator = build_discriminator(narrow(32, "resnet", "concat"), 4)
    seen: list[torch.Tensor] = []
    discriminator.blocks[2].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    labels = torch.tensor([2, 0])
    discriminator(torch.randn(2, 3, 32, 32), labels)
    joined = seen[0][:, 4:]
    table = discriminator.class_embedding.normalized_weight()
    assert torch.equal(joined, table[labels][:, :, None, None].expand_as(joined))
    assert joined.shape[1] == 128


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
    assert set(covered) == {name for name, _ in weight_layers(discriminator)}
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
