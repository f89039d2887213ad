from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest

from export.errors import ExportError
from export.onnx_writer import write_with_metadata
from export.precision import bfloat16
from export.precision import gate as gate_module
from export.precision.bfloat16 import OPENVINO_PROVIDER, verify_bfloat16
from export.precision.judges import NotMeasured
from export.precision.sessions import open_session
from handlers.metadata import GeneratorMetadata
from handlers.session import import_onnxruntime

Graph = tuple[onnx.ModelProto, GeneratorMetadata]
PRESENT = OPENVINO_PROVIDER in import_onnxruntime().get_available_providers()


@pytest.fixture
def generator(for_integers: Graph, tmp_path: Path) -> Path:
    model, metadata = for_integers
    path = tmp_path / "generator.onnx"
    own = onnx.ModelProto()
    own.CopyFrom(model)
    write_with_metadata(own, metadata, path)
    return path


@pytest.mark.skipif(PRESENT, reason="this ONNX Runtime has the OpenVINO provider")
def test_without_the_provider_it_says_so_and_how_to_get_it(generator: Path) -> None:
    check = verify_bfloat16(generator)
    assert check.gate is None
    assert check.note.startswith("not present: ")
    assert check.to_dict() == {"note": check.note}


@pytest.mark.skipif(PRESENT, reason="this ONNX Runtime has the OpenVINO provider")
def test_a_provider_that_is_not_there_is_not_replaced_by_another(for_integers: Graph) -> None:
    with pytest.raises(ExportError, match="has no OpenVINOExecutionProvider"):
        open_session(for_integers[0], OPENVINO_PROVIDER)


def test_a_provider_that_falls_back_is_found_out(for_integers: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where its libraries do not load: listed, and replaced with a line in the log."""
    monkeypatch.setattr(import_onnxruntime(), "get_available_providers", lambda: [OPENVINO_PROVIDER])
    with (
        pytest.warns(UserWarning, match="not in available provider names"),
        pytest.raises(
            ExportError, match=r"asked for OpenVINOExecutionProvider, ONNX Runtime took CPUExecutionProvider"
        ),
    ):
        open_session(for_integers[0], OPENVINO_PROVIDER)


def test_a_strangers_file_is_refused(generator: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_onnxruntime(), "get_available_providers", lambda: [OPENVINO_PROVIDER])
    stranger = onnx.load(generator)
    del stranger.metadata_props[:]
    onnx.save(stranger, generator)
    with pytest.raises(ExportError, match="without sngan metadata"):
        verify_bfloat16(generator)


def test_where_it_is_present_the_gate_judges_it(generator: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With OpenVINO itself where it is installed; elsewhere with the CPU provider in its place, asked in its words."""
    asked = []
    monkeypatch.setattr(gate_module, "load_judge_of_features", lambda report: NotMeasured(reason="for the test"))
    if not PRESENT:

        def stand_in(model: onnx.ModelProto, provider: str, options: dict[str, str]) -> object:
            asked.append((provider, options["device_type"], options["load_config"]))
            return open_session(model)

        monkeypatch.setattr(
            import_onnxruntime(), "get_available_providers", lambda: [OPENVINO_PROVIDER, "CPUExecutionProvider"]
        )
        monkeypatch.setattr(bfloat16, "open_session", stand_in)
    check = verify_bfloat16(generator, num_images=32)
    assert check.gate is not None
    assert check.gate.precision == "bfloat16"
    assert check.gate.provider == OPENVINO_PROVIDER
    assert check.gate.passed
    assert check.note.startswith("OpenVINO in bfloat16 is within its budget (PSNR ")
    if not PRESENT:
        [(provider, device, config)] = asked
        assert (provider, device) == (OPENVINO_PROVIDER, "CPU")
        assert json.loads(config)["CPU"]["INFERENCE_PRECISION_HINT"] == "bf16"
