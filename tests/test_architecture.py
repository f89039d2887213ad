"""The import arrows hold, and the linter that says so would notice if they did not."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    code = "import sys; sys.path.insert(0, '.'); from importlinter.cli import lint_imports_command as c; c()"
    arguments = [sys.executable, "-c", code, "--no-cache"]
    return subprocess.run(arguments, cwd=folder, capture_output=True, text=True, check=False)


def test_the_arrows_hold() -> None:
    result = lint_imports(ROOT)
    assert result.returncode == 0, result.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("handlers/latents.py", "import torch"),
        ("handlers/latents.py", "import sngan_train.config"),
        ("sngan_train/config.py", "import export.errors"),
        ("serve/config.py", "import sngan_train.config"),
        ("export/fold.py", "import sngan_train.steps"),
        ("sngan_train/losses.py", "import sngan_train.data"),
        ("sngan_train/config.py", "import sngan_train.loop"),
    ],
)
def test_a_planted_import_is_found(tmp_path: Path, file: str, line: str) -> None:
    for name in ("sngan_train", "export", "handlers", "serve", "sngan_cli", "pyproject.toml"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tmp_path / name)
    with (tmp_path / file).open("a") as planted:
        planted.write(f"\n{line}\n")
    result = lint_imports(tmp_path)
    assert result.returncode != 0
    assert "BROKEN" in result.stdout
