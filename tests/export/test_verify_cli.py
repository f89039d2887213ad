"""`sngan verify`: what it prints, and how it ends."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from export.errors import OptionError, VerificationError
from export.reference_images import FILE_IMAGES, PSNR_FLOORS_DB, REPORT_IMAGES
from export.seal import ARCHIVE_SEAL, GENERATOR_SEAL, REPORT_SEAL
from export.verify_cli import app

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def export(tiny_export: Path, tmp_path: Path) -> Path:
    """A copy that may be changed."""
    return Path(shutil.copytree(tiny_export, tmp_path / "out"))


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_a_line_a_check_on_stdout_and_the_rest_on_stderr(tiny_export: Path) -> None:
    result = run(tiny_export)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert len(lines) == 10
    assert all(line.startswith("PASS  ") for line in lines)
    (parity,) = [line for line in lines if "  parity  " in line]
    assert "64 images at most " in parity
    assert parity.endswith("(cpu)")
    assert "10 checks passed" in result.stderr


@pytest.mark.parametrize("name", ["generator.onnx", "sngan.mar"])
def test_a_file_alone(tiny_export: Path, name: str) -> None:
    result = run(tiny_export / name)
    assert result.exit_code == 0
    assert "16 images" in result.stdout


def test_a_failure_is_one_line_that_names_the_file(export: Path) -> None:
    content = bytearray((export / "sngan.mar").read_bytes())
    content[1000] ^= 1
    (export / "sngan.mar").write_bytes(content)
    result = run(export)
    assert isinstance(result.exception, VerificationError)
    assert result.exception.exit_code == 3
    assert str(result.exception).startswith(f"{export / 'sngan.mar'}: has the SHA-256 ")
    assert [line.split()[:2] for line in result.stdout.splitlines() if not line.startswith("PASS")] == [
        ["FAIL", "sngan.mar"]
    ]
    alone = run(export / "sngan.mar")
    assert str(alone.exception).startswith(f"{export / 'sngan.mar'}: damaged: its bytes have the SHA-256 ")


def test_several_failures_are_counted(export: Path) -> None:
    (export / "README.md").unlink()
    (export / "sngan.mar").unlink()
    assert str(run(export).exception) == f"{export / 'README.md'}: is missing (and 1 more, above)"


def test_json(export: Path) -> None:
    passed = json.loads(run(export, "--json").stdout)
    assert passed["passed"] is True
    assert passed["path"] == str(export)
    assert {"subject": "README.md", "what": "bytes", "status": "PASS"}.items() <= passed["checks"][2].items()
    (export / "README.md").write_text("other")
    result = run(export, "--json")
    assert json.loads(result.stdout)["passed"] is False
    assert isinstance(result.exception, VerificationError)


def test_usage(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_text("")
    assert isinstance(run(tmp_path / "x.png").exception, OptionError)


def test_it_needs_no_torch_and_no_onnx(tiny_export: Path) -> None:
    code = (
        "import sys\n"
        "sys.modules['torch'] = sys.modules['onnx'] = None  # an import of either fails\n"
        "from pathlib import Path\n"
        "from export.check import check\n"
        "found = list(check(Path(sys.argv[1])))\n"
        "assert len(found) == 10 and all(one.status == 'PASS' for one in found), found\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tiny_export)], check=True)


def test_the_page_about_it(tiny_export: Path) -> None:
    page = (DOCS / "verify.md").read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)", page) if "://" not in link]
    assert [link for link in links if not (DOCS / link).exists()] == []
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    subprocess.run([sys.executable, "-c", code], cwd=tiny_export, check=True)
    for fact in (GENERATOR_SEAL, ARCHIVE_SEAL, REPORT_SEAL, f"{REPORT_IMAGES} reference", f"the {FILE_IMAGES} "):
        assert fact in page
    floors = [f"{PSNR_FLOORS_DB[name]:.0f}" for name in ("float16", "bfloat16", "int8")]
    assert f"at least {floors[0]}, {floors[1]} and {floors[2]} dB" in page
