"""DiffAugment: each change by hand on one image, gradients, and equal draws for equal noise."""

import pytest
import torch

from sngan_train.augmentation import draw_views, view
from sngan_train.config import AUGMENTATIONS
from sngan_train.noise import Noise

SIZE = 16


def test_translation_shifts_by_whole_pixels_and_brings_zeros_in() -> None:
    image = torch.arange(1.0, SIZE * SIZE + 1).view(1, 1, SIZE, SIZE)
    still = view(image, {"translation": torch.full((1, 2), 0.5)})
    assert torch.equal(still, image)
    shifted = view(image, {"translation": torch.tensor([[0.0, 0.999]])})  # as far down and as far left as it goes
    reach = SIZE // 8
    assert torch.equal(shifted[0, 0, reach:, :-reach], image[0, 0, :-reach, reach:])
    assert not shifted[0, 0, :reach].any()
    assert not shifted[0, 0, :, -reach:].any()


def test_cutout_covers_half_a_side_where_it_lies_inside() -> None:
    image = torch.ones(1, 3, SIZE, SIZE)
    cut = view(image, {"cutout": torch.full((1, 2), 0.5)})
    assert (cut == 0).sum().item() == 3 * (SIZE // 2) ** 2
    corner = view(image, {"cutout": torch.zeros(1, 2)})
    assert (corner == 0).sum().item() == 3 * (SIZE // 4) ** 2


def test_color_by_hand() -> None:
    torch.manual_seed(0)
    image = torch.randn(1, 3, 4, 4)
    assert torch.allclose(view(image, {"color": torch.tensor([[0.5, 0.5, 0.5]])}), image, atol=1e-6)
    brighter = view(image, {"color": torch.tensor([[1.0, 0.5, 0.5]])})
    assert torch.allclose(brighter, image + 0.5, atol=1e-6)
    grey = view(image, {"color": torch.tensor([[0.5, 0.0, 0.5]])})
    assert torch.allclose(grey, image.mean(dim=1, keepdim=True).expand_as(image), atol=1e-6)
    contrast = view(image, {"color": torch.tensor([[0.5, 0.5, 1.0]])})
    assert torch.allclose(contrast, (image - image.mean()) * 1.5 + image.mean(), atol=1e-6)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_images_are_changed_one_by_one_and_gradients_pass(name: str) -> None:
    noise = Noise(generator=torch.Generator().manual_seed(1))
    draws = draw_views((name,), 6, noise)
    images = torch.randn(6, 3, SIZE, SIZE, requires_grad=True)
    changed = view(images, draws)
    assert changed.shape == images.shape
    alone = view(images[2:3], {name: draws[name][2:3]})
    assert torch.equal(alone[0], changed[2])
    changed.square().sum().backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0


def test_two_processes_draw_what_one_does() -> None:
    def draws(rank: int, world_size: int) -> torch.Tensor:
        noise = Noise(generator=torch.Generator().manual_seed(2), rank=rank, world_size=world_size)
        return draw_views(("color",), 6, noise)["color"]

    assert torch.equal(torch.cat([draws(0, 2), draws(1, 2)]), draws(0, 1))
