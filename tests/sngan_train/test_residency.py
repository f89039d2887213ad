"""What is held and what is streamed; memory in files as Linux writes them."""

from pathlib import Path

import pytest

from sngan_train import residency
from sngan_train.config import DataConfig
from sngan_train.errors import DataError
from sngan_train.residency import available_memory, choose_residency

GIB = 2**30


@pytest.fixture
def free_gib(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine with 4 GiB free."""
    (tmp_path / "meminfo").write_text(f"MemTotal: 99999999 kB\nMemAvailable: {4 * 2**20} kB\n")
    monkeypatch.setattr(residency, "MEMORY_FILE", tmp_path / "meminfo")
    monkeypatch.setattr(residency, "LIMIT_FILES", (tmp_path / "memory.max",))


@pytest.mark.usefixtures("free_gib")
def test_a_containers_limit_counts(tmp_path: Path) -> None:
    assert available_memory() == 4 * GIB
    (tmp_path / "memory.max").write_text("max\n")
    assert available_memory() == 4 * GIB
    (tmp_path / "memory.max").write_text(f"{GIB}\n")
    assert available_memory() == GIB


@pytest.mark.usefixtures("free_gib")
@pytest.mark.parametrize(
    ("wish", "size", "choice"),
    [
        ("auto", 1 * GIB, "memory"),
        ("auto", 3 * GIB, "stream"),  # above half of what is free
        ("memory", 3 * GIB, "memory"),
        ("stream", 1, "stream"),
    ],
)
def test_auto_holds_what_fits_in_half_of_the_free_memory(wish: str, size: int, choice: str) -> None:
    assert choose_residency(DataConfig(residency=wish), size, random_access=True, where="x") == choice


def test_auto_holds_no_more_than_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(residency, "available_memory", lambda: 1024 * GIB)
    assert choose_residency(DataConfig(), 8 * GIB, random_access=True, where="x") == "memory"
    assert choose_residency(DataConfig(), 8 * GIB + 1, random_access=True, where="x") == "stream"
    assert choose_residency(DataConfig(residency="memory"), 60 * GIB, random_access=True, where="x") == "memory"


@pytest.mark.usefixtures("free_gib")
def test_what_cannot_be_is_refused_with_what_to_do() -> None:
    with pytest.raises(DataError, match=r"5\.0 GiB at 32 pixels and 4\.0 GiB of memory are free; use data\.residency"):
        choose_residency(DataConfig(residency="memory"), 5 * GIB, random_access=True, where="x")
    with pytest.raises(DataError, match=r"compressed tar cannot be streamed.*unpack it, or pack the images as \.zip"):
        choose_residency(DataConfig(residency="stream"), 1, random_access=False, where="x")


def test_without_the_systems_files_there_is_no_limit_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(residency, "MEMORY_FILE", Path("/nowhere"))
    monkeypatch.setattr(residency, "LIMIT_FILES", ())
    assert choose_residency(DataConfig(), 8 * GIB, random_access=True, where="x") == "memory"
