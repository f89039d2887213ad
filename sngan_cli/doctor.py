"""`sngan doctor`: what this machine and environment have, and what to do about what they have not."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import enum
import importlib.util
import io
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Annotated

import typer

from sngan_cli.errors import CommandError, UsageError

app = typer.Typer()

MIN_PYTHON = (3, 11)
EXTRAS = ("train", "export", "serve")
ONNX_RUNTIME_PACKAGES = {"cpu": "onnxruntime", "gpu": "onnxruntime-gpu", "openvino": "onnxruntime-openvino"}
# One Identity node, opset 17: enough for a provider to show whether it loads.
IDENTITY_GRAPH = base64.b64decode(
    "CAg6NwoQCgF4EgF5IghJZGVudGl0eRIBcFoPCgF4EgoKCAgBEgQKAggBYg8KAXkSCgoICAESBAoCCAFCBAoAEBE="
)
PROCESSOR_FEATURES = {
    "amx_bf16": "AMX",
    "avx512_bf16": "AVX-512 bfloat16",
    "avx512_vnni": "VNNI",
    "avx_vnni": "AVX-VNNI",
    "avx512f": "AVX-512",
    "avx2": "AVX2",
    "bf16": "Arm bfloat16",
    "i8mm": "Arm int8 matrices",
}


class Verdict(enum.Enum):
    """How a finding stands."""

    GOOD = "ok"
    NOTE = "note"  # works, and could be better or is simply absent
    BAD = "BAD"  # something that is installed cannot work


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One line of the report."""

    subject: str
    verdict: Verdict
    text: str
    remedy: str = ""


@app.command()
def doctor(
    data: Annotated[
        str | None,
        typer.Option(help="Look at this data instead, as `train --data` takes it: every image of it."),
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(help="With --data: the size to train at. [default: the preset's that fits]")
    ] = None,
    channels: Annotated[int | None, typer.Option(help="With --data: 1 grey, 3 colour. [default: the preset's]")] = None,
) -> None:
    """Check Python, packages, ONNX Runtime providers, Java, processor and GPU; say what to do about each.

    Exit code 1 if something that is installed cannot work, or if the data cannot be trained on.
    """
    if data is None:
        if image_size is not None or channels is not None:
            raise UsageError("--image-size and --channels go with --data")
        findings = examine()
    else:
        from sngan_cli.doctor_data import examine_source

        findings = examine_source(data, image_size, channels)
    bad = 0
    for finding in findings:
        print(f"{finding.verdict.value:<4}  {finding.subject:<13} {finding.text}")
        if finding.remedy:
            print(f"{'':<20}→ {finding.remedy}")
        bad += finding.verdict is Verdict.BAD
    if bad:
        raise CommandError(f"{bad} of the findings above must be put right; each names what to do")


def examine() -> Iterator[Finding]:
    """Every finding, cheap ones first."""
    checks: tuple[Callable[[], Iterator[Finding]], ...] = (
        _python,
        _packages,
        _onnx_runtime,
        _java,
        _processor,
        _gpu,
        _serving,
    )
    for check in checks:
        yield from check()


def _python() -> Iterator[Finding]:
    text = f"{sys.version.split()[0]} at {sys.executable}"
    if sys.version_info < MIN_PYTHON:
        yield Finding(subject="python", verdict=Verdict.BAD, text=text, remedy="install Python 3.11 or newer")
    else:
        yield Finding(subject="python", verdict=Verdict.GOOD, text=text)


def _packages() -> Iterator[Finding]:
    from packaging.requirements import Requirement

    for extra in EXTRAS:
        wanted = [Requirement(text) for text in requires("sngan") or []]
        of_extra = [one for one in wanted if one.marker and one.marker.evaluate({"extra": extra})]
        of_extra = [one for one in of_extra if not one.marker.evaluate({"extra": ""})]  # type: ignore[union-attr]
        missing, outdated, present = [], [], []
        for one in of_extra:
            installed = _version(one.name)
            if installed is None:
                missing.append(one.name)
            elif not one.specifier.contains(installed, prereleases=True):
                outdated.append(f"{one.name} {installed} (wanted {one.specifier})")
            else:
                present.append(f"{one.name} {installed}")
        remedy = f"pip install 'sngan[{extra}]'"
        if outdated:
            yield Finding(subject=extra, verdict=Verdict.BAD, text=", ".join(outdated), remedy=remedy)
        elif missing:
            text = f"not installed: {', '.join(missing)}"
            yield Finding(subject=extra, verdict=Verdict.NOTE, text=text, remedy=f"to {extra}: {remedy}")
        else:
            yield Finding(subject=extra, verdict=Verdict.GOOD, text=", ".join(present))


def _onnx_runtime() -> Iterator[Finding]:
    installed = [name for name in ONNX_RUNTIME_PACKAGES.values() if _version(name)]
    if len(installed) > 1:
        yield Finding(
            subject="onnxruntime",
            verdict=Verdict.BAD,
            text=f"{' and '.join(installed)} are both installed; they write into one folder and break each other",
            remedy=f"pip uninstall -y {' '.join(installed)}, then pip install 'sngan[cpu]' (or [gpu], or [openvino])",
        )
        return
    if importlib.util.find_spec("onnxruntime") is None:
        yield Finding(
            subject="onnxruntime",
            verdict=Verdict.NOTE,
            text="not installed; export, sample and serve need it",
            remedy="pip install 'sngan[cpu]', or 'sngan[gpu]' with an NVIDIA GPU, or 'sngan[openvino]': see `serving`",
        )
        return
    from handlers.providers import EXTRAS, PROVIDERS
    from handlers.session import import_onnxruntime

    extras = {theirs: EXTRAS[ours] for ours, theirs in PROVIDERS.items()}
    onnxruntime = import_onnxruntime()
    package = installed[0] if installed else "onnxruntime"
    yield Finding(subject="onnxruntime", verdict=Verdict.GOOD, text=f"{package} {onnxruntime.__version__}")
    for provider in onnxruntime.get_available_providers():
        name = provider.removesuffix("ExecutionProvider")
        if name == "Azure":  # sends work to a remote service; nothing here uses it
            continue
        reason = _provider_failure(provider)
        if reason is None:
            yield Finding(subject="provider", verdict=Verdict.GOOD, text=f"{name} loads")
        else:
            yield Finding(
                subject="provider",
                verdict=Verdict.NOTE,
                text=f"{name} is built in but does not load ({reason}); the CPU is used instead",
                remedy=f"its libraries come with pip install 'sngan[{extras.get(provider, 'gpu')}]'; "
                f"nothing to do on a machine without {name}",
            )


def _provider_failure(provider: str) -> str | None:
    """Why a session cannot be had on `provider`, or None. Being listed as available says nothing."""
    from handlers.session import PROVIDERS, import_onnxruntime

    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        # Some builds print their failures, some warn of them; here they are told in one line.
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if provider == PROVIDERS["cuda"]:
                onnxruntime.preload_dlls()
            session = onnxruntime.InferenceSession(IDENTITY_GRAPH, options, providers=[provider])
    except Exception as error:  # onnxruntime's exceptions share no public base
        return str(error).strip().splitlines()[0]
    return None if session.get_providers()[0] == provider else "its libraries or its device are missing"


def _java() -> Iterator[Finding]:
    from serve.errors import JavaNotFoundError
    from serve.java import find_java

    try:
        java = find_java()
    except JavaNotFoundError as error:
        yield Finding(subject="java", verdict=Verdict.NOTE, text=str(error))
        return
    yield Finding(subject="java", verdict=Verdict.GOOD, text=f"{java.major} by {java.found_by}, {java.executable}")


def _processor() -> Iterator[Finding]:
    from handlers.processor import processor_flags, usable_cores

    cores, all_cores = usable_cores(), os.cpu_count() or 1
    limit = f" (the machine has {all_cores})" if cores != all_cores else ""
    yield Finding(subject="cores", verdict=Verdict.GOOD, text=f"{cores} usable{limit}")
    flags = processor_flags()
    found = [name for flag, name in PROCESSOR_FEATURES.items() if flag in flags]
    if {"amx_bf16", "avx512_bf16"} & flags:
        yield Finding(
            subject="processor",
            verdict=Verdict.GOOD,
            text=f"{', '.join(found)}; training computes in bfloat16 by default",
        )
    else:
        yield Finding(
            subject="processor",
            verdict=Verdict.NOTE,
            text=f"{', '.join(found) or 'no known vector extensions'}; without AMX or AVX-512 bfloat16 training "
            "computes in float32, about half as fast",
        )


def _gpu_names() -> str:
    """Of NVIDIA's, separated by commas; empty without any."""
    tool = shutil.which("nvidia-smi")
    if not tool:
        return ""
    done = subprocess.run(
        [tool, "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True, check=False
    )
    return ", ".join(done.stdout.split("\n")).strip(", ") if done.returncode == 0 else ""


def _gpu() -> Iterator[Finding]:
    names = _gpu_names()
    if not names:
        yield Finding(subject="gpu", verdict=Verdict.NOTE, text="no NVIDIA GPU found; everything runs on the CPU")
        return
    if importlib.util.find_spec("torch") is None:
        yield Finding(subject="gpu", verdict=Verdict.GOOD, text=names)
        return
    import torch

    if torch.cuda.is_available():
        yield Finding(subject="gpu", verdict=Verdict.GOOD, text=f"{names}; torch {torch.__version__} sees it")
    else:
        yield Finding(
            subject="gpu",
            verdict=Verdict.NOTE,
            text=f"{names}, but torch {torch.__version__} does not see it",
            remedy="install a torch build for the driver's CUDA version, as pytorch.org's selector shows",
        )


def _serving() -> Iterator[Finding]:
    from handlers.processor import processor_flags
    from sngan_cli.doctor_serving import faster_serving

    installed = [extra for extra, package in ONNX_RUNTIME_PACKAGES.items() if _version(package)]
    yield from faster_serving(processor_flags(), _gpu_names(), installed)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
