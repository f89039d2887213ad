from pathlib import Path

import pytest
import torch

from sngan_train import runtime
from sngan_train.errors import ConfigError
from sngan_train.runtime import choose_device, choose_precision, processor_multiplies_bfloat16, seeded_generator

CPU = torch.device("cpu")


def draw(seed: int, stream: int, index: int) -> list[float]:
    return torch.rand(4, generator=seeded_generator(seed, stream, index, CPU)).tolist()


def test_draws_depend_on_seed_stream_and_index() -> None:
    assert draw(1, 2, 3) == draw(1, 2, 3)
    others = [draw(2, 2, 3), draw(1, 3, 3), draw(1, 2, 4)]
    assert all(other != draw(1, 2, 3) for other in others)


@pytest.mark.parametrize(
    ("flags", "expected"), [("fpu amx_bf16", True), ("avx512_bf16", True), ("avx2 avx512f", False), ("", False)]
)
def test_bfloat16_is_chosen_by_the_processors_flags(
    flags: str, expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: {flags}\n")
    monkeypatch.setattr(runtime, "Path", lambda _: tmp_path / "cpuinfo")
    assert processor_multiplies_bfloat16() is expected
    assert choose_precision("auto", CPU) is (torch.bfloat16 if expected else torch.float32)
    assert choose_precision("float32", CPU) is torch.float32
    assert choose_precision("bfloat16", CPU) is torch.bfloat16


def test_devices() -> None:
    assert choose_device("cpu").type == "cpu"
    with pytest.raises(ConfigError, match="not one of auto, cpu, cuda"):
        choose_device("tpu")
    if not torch.cuda.is_available():
        assert choose_device("auto").type == "cpu"
        with pytest.raises(ConfigError, match="sees no CUDA GPU"):
            choose_device("cuda")


def test_a_machine_that_cannot_compile_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_compiler(function: object) -> object:
        raise RuntimeError("no C++ compiler\nand a long story")

    monkeypatch.setattr(torch, "compile", no_compiler)
    assert runtime.reason_not_to_compile(CPU) == "no C++ compiler"
