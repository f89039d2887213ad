import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from serve import torch_stand_in


def test_it_hides_nothing_and_is_what_the_worker_needs(tmp_path: Path) -> None:
    torch_stand_in.write(tmp_path)
    program = "import torch; assert not isinstance(b'', torch.Tensor); print(torch.__file__)"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()) == tmp_path / "torch.py"


@pytest.mark.parametrize(
    ("provider", "installed", "used"),
    [("cpu", True, True), ("cpu", False, True), ("openvino", True, True), ("cuda", False, True), ("cuda", True, False)],
)
def test_only_a_gpu_s_worker_has_the_real_torch(
    provider: str, installed: bool, used: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if installed else None)
    assert torch_stand_in.is_used(provider) is used
