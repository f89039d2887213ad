"""Our top-level names are ours alone, and the metadata says what the documents promise."""

import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NAMES = ("export", "handlers", "serve", "sngan_cli", "sngan_train")


@pytest.fixture(scope="module")
def project() -> dict[str, object]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.mark.parametrize("name", NAMES)
def test_each_name_belongs_to_our_distribution_alone(name: str) -> None:
    owners = packages_distributions().get(name, [])
    assert set(owners) <= {"sngan"}  # an editable install may list no owner
    module = __import__(name)
    assert Path(str(module.__file__)).is_relative_to(ROOT)


def test_every_package_is_listed(project: dict) -> None:
    packages = set(project["tool"]["setuptools"]["packages"])
    present = {
        str(path.parent.relative_to(ROOT)).replace("/", ".")
        for name in NAMES
        for path in (ROOT / name).rglob("__init__.py")
    }
    assert packages == present


def test_the_promised_extras(project: dict) -> None:
    extras = project["project"]["optional-dependencies"]
    assert set(extras) == {"train", "evaluate", "ray", "export", "serve", "cpu", "gpu", "openvino", "bench", "dev"}
    assert any(entry.startswith("onnxruntime-gpu[cuda,cudnn]") for entry in extras["gpu"])
    runtimes = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino")
    for extra, entries in extras.items():  # no extra but its own brings one of the packages that exclude one another
        if extra not in ("cpu", "gpu", "openvino"):
            assert not [entry for entry in entries if entry.startswith(runtimes)]


def test_no_package_marks_tests_as_one() -> None:
    assert not list((ROOT / "tests").rglob("__init__.py"))
