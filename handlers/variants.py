"""Which of a folder's generator files to run: the same model lies there in up to three precisions.

    generator.onnx        float32, or whatever single file somebody serves
    generator-fp16.onnx   for GPUs
    generator-int8.onnx   for processors that multiply 8-bit integers

`sngan export` writes a smaller precision only after its images have passed a comparison with float32's, so what is
there may be used. Pixels differ a little between precisions: whoever needs the same bytes everywhere names one.
"""

from __future__ import annotations

from pathlib import Path

from handlers.errors import GeneratorFileError
from handlers.processor import ARM_INT8, VNNI, processor_flags
from handlers.providers import AUTO_ORDER, PROVIDERS, check_name
from handlers.session import GeneratorSession, import_onnxruntime

# Precision → the end of its file's name, before .onnx.
SUFFIXES = {"float32": "", "float16": "-fp16", "int8": "-int8"}
VARIANTS = ("auto", *SUFFIXES)


def choose(folder: Path, main: str, provider: str, wish: str) -> str:
    """The name of the file in `folder` to run on `provider`.

    Args:
        folder: the unpacked archive.
        main: the name of the file that the archive is for, such as "generator.onnx"; it is there.
        provider: one of `PROVIDERS`.
        wish: one of `VARIANTS`. "auto" is float16 on CUDA and TensorRT, int8 on the CPU provider where the processor
            has instructions for it, and `main` where that file is not there or another provider runs.

    Raises:
        GeneratorFileError: the wish is unknown, or its file is not there; the message lists those that are.
    """
    if wish not in VARIANTS:
        raise GeneratorFileError(f"variant {wish!r} is unknown; one of {', '.join(VARIANTS)}")
    stem = main.removesuffix(".onnx")
    files = {precision: f"{stem}{suffix}.onnx" for precision, suffix in SUFFIXES.items()}
    there = {precision: name for precision, name in files.items() if name == main or (folder / name).is_file()}
    if wish == "auto":
        return there.get(_fitting(provider), main)
    if wish not in there:
        # The main file may itself be of that precision: only opening it tells.
        if len(there) == 1:
            return main
        raise GeneratorFileError(
            f"no variant {wish} in this archive, which has {', '.join(there)}; `sngan export --precision` adds it"
        )
    return there[wish]


def open_session(
    folder: Path, main: str, *, provider: str, threads: int | None, variant: str = "auto"
) -> GeneratorSession:
    """Open the variant that fits the provider which really runs.

    Args:
        folder: as for `choose`.
        main: as for `choose`.
        provider: "auto" or one of `PROVIDERS`, as for `GeneratorSession`.
        threads: as for `GeneratorSession`.
        variant: the wish, as for `choose`.

    Raises:
        GeneratorFileError: no such variant, or a file that cannot be run.
        ProviderError: the named provider is unknown or did not load.
    """
    check_name(provider)
    name = choose(folder, main, _expected(provider), variant)
    session = GeneratorSession(folder / name, provider=provider, threads=threads)
    # "auto" may have fallen back to a provider that another file fits.
    better = choose(folder, main, session.provider, variant)
    if better != name:
        fallback = session.fallback
        session = GeneratorSession(folder / better, provider=session.provider, threads=threads)
        session.fallback = fallback
    if variant not in ("auto", session.metadata.precision):
        raise GeneratorFileError(
            f"the file to serve is {session.metadata.precision}, and variant {variant} was asked for; "
            "`sngan export --precision` writes it"
        )
    return session


def _fitting(provider: str) -> str:
    """The fastest precision on `provider` whose pixels passed the export's comparison."""
    if provider in ("cuda", "tensorrt"):
        return "float16"
    # Without such instructions int8 is slower than float32, and its sums may saturate.
    if provider == "cpu" and (VNNI | ARM_INT8) & processor_flags():
        return "int8"
    return "float32"


def _expected(provider: str) -> str:
    """The provider that "auto" will most likely end on."""
    if provider != "auto":
        return provider
    available = import_onnxruntime().get_available_providers()
    return next(name for name in AUTO_ORDER if PROVIDERS[name] in available)
