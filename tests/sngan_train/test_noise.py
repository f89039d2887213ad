"""The draws of an update do not depend on how many processes share it."""

import pytest
import torch

from sngan_train.noise import Noise


def of_process(rank: int, world_size: int) -> dict[str, torch.Tensor]:
    noise = Noise(generator=torch.Generator().manual_seed(5), rank=rank, world_size=world_size)
    return {
        "normal": noise.normal(12, 4),
        "uniform": noise.uniform(12, 1, 1, 1),
        "integers": noise.integers(7, 12),
        "share": noise.share(torch.arange(12)),
    }


@pytest.mark.parametrize("world_size", [2, 3])
def test_the_shares_put_together_are_what_one_process_draws(world_size: int) -> None:
    alone = of_process(0, 1)
    shares = [of_process(rank, world_size) for rank in range(world_size)]
    for name, expected in alone.items():
        assert torch.equal(torch.cat([share[name] for share in shares]), expected), name


def test_the_draws_are_what_they_are_called() -> None:
    noise = Noise(generator=torch.Generator().manual_seed(6))
    normal, uniform, integers = noise.normal(4000, 2), noise.uniform(4000, 2), noise.integers(5, 4000)
    assert abs(float(normal.mean())) < 0.05
    assert abs(float(normal.std()) - 1.0) < 0.05
    assert 0.0 <= float(uniform.min()) < 0.01
    assert 0.99 < float(uniform.max()) < 1.0
    assert integers.unique().tolist() == [0, 1, 2, 3, 4]
