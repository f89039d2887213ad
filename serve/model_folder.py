"""A `.mar` or `.onnx` file → the model folder that TorchServe is started on, checked before Java starts.

An unpacked folder is used for both, because the server's settings replace the archive's own, and a folder
that TorchServe only links to starts faster than an archive that it unpacks. An archive holds code: serving
one runs it, so it must come from somebody trusted; unpacking it is safe in any case.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

import handlers
from handlers.drawing import draw
from handlers.errors import HandlersError
from handlers.metadata import GeneratorMetadata
from handlers.providers import reason_against
from handlers.request import ImageRequest
from handlers.session import import_onnxruntime
from handlers.variants import open_session
from serve.config import MODEL_NAME, ServeConfig
from serve.config_files import model_config_yaml
from serve.errors import ModelFileError, ServeError
from serve.unpack import unpack

HANDLER_FILE = "sngan_handler.py"
CONFIG_FILE = "model-config.yaml"
MANIFEST = "MAR-INF/MANIFEST.json"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ModelFolder:
    """A folder that TorchServe can serve as a no-archive model.

    Attributes:
        path: the folder.
        metadata: of the generator in it, which has been opened and run.
        version: as TorchServe will name it.
    """

    path: Path
    metadata: GeneratorMetadata
    version: str


def busy_file(store: Path, name: str) -> Path:
    """What the workers of the model folder `store/name` lock while they work."""
    return store / f"{name}.busy"


def prepare(
    source: Path, store: Path, config: ServeConfig, name: str = MODEL_NAME, versions: Collection[str] = ()
) -> ModelFolder:
    """Make `store/name` of `source` and run the generator once.

    Args:
        source: a `.mar` archive or a generator `.onnx` file.
        store: an existing folder without a `name` in it.
        config: what goes into the folder's `model-config.yaml`.
        name: of the new folder.
        versions: that are taken already; the same one again gets the folder's name behind it.

    Raises:
        ModelFileError: `source` is missing, broken, or not one of ours.
    """
    if not source.is_file():
        raise ModelFileError(f"{source}: no such file; give a sngan.mar or a generator.onnx")
    folder = store / name
    try:
        folder.mkdir()
        busy_file(store, name).touch()
        if source.suffix == ".mar":
            unpack(source, folder)
            generator_file, version = _check_archive(source, folder)
        elif source.suffix == ".onnx":
            generator_file, version = _build(source, folder), None
        else:
            raise ModelFileError(f"{source}: neither a .mar nor an .onnx file")
        metadata = _run_once(source, folder, generator_file, config)
        settings = model_config_yaml(config, busy_file(store, name), metadata)
        (folder / CONFIG_FILE).write_text(settings, encoding="utf-8")
        version = version or metadata.version
        version = f"{version}-{name}" if version in versions else version
        manifest = _manifest(generator_file, version)
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=2), encoding="utf-8")
    except OSError as error:
        raise ModelFileError(f"{source}: cannot be made ready in {store}: {error}") from error
    return ModelFolder(path=folder, metadata=metadata, version=version)


def _build(source: Path, folder: Path) -> str:
    """Lay `source` and the installed handler into `folder`, as an archive has them; the generator's name."""
    package = Path(handlers.__file__).parent
    (folder / "MAR-INF").mkdir()
    (folder / "handlers").mkdir()
    for file in sorted([*package.glob("*.py"), *package.glob("*.json")]):
        shutil.copyfile(file, folder / HANDLER_FILE if file.name == HANDLER_FILE else folder / "handlers" / file.name)
    shutil.copyfile(source, folder / "generator.onnx")
    return "generator.onnx"


def _check_archive(source: Path, folder: Path) -> tuple[str, str | None]:
    """The generator's file name and the model's version, as the unpacked archive's manifest tells them."""
    remedy = "make one with `sngan export`"
    if not (folder / MANIFEST).is_file():
        raise ModelFileError(f"{source}: no {MANIFEST}, so no TorchServe archive; {remedy}")
    try:
        model: Any = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["model"]
        generator_file, version = model["serializedFile"], model.get("modelVersion")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ModelFileError(f"{source}: its {MANIFEST} names no model file; {remedy}") from error
    if not (folder / HANDLER_FILE).is_file() or not (folder / "handlers" / "__init__.py").is_file():
        raise ModelFileError(f"{source}: no {HANDLER_FILE} with its package, so not a SNGAN archive; {remedy}")
    if not isinstance(generator_file, str) or generator_file not in {path.name for path in folder.glob("*.onnx")}:
        raise ModelFileError(f"{source}: its generator {generator_file!r} is not in the archive; {remedy}")
    return generator_file, version if isinstance(version, str) else None


def _run_once(source: Path, folder: Path, generator: str, config: ServeConfig) -> GeneratorMetadata:
    """Open the generator and draw one image: here a fault is one line, in a worker it is a log to read.

    On the CPU whatever the server will use: a session on a GPU would keep its memory as long as we live.
    """
    try:
        session = open_session(folder, generator, provider="cpu", threads=None, variant=config.variant)
        _require(config.provider)
        draw(session, ImageRequest(n=1, seed=0, classes=None, truncation=None))
    except HandlersError as error:
        raise ModelFileError(str(error).replace(str(folder / generator), str(source))) from error
    except ServeError:
        raise
    except Exception as error:  # whatever ONNX Runtime throws at a graph that it loads and cannot run
        line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelFileError(f"{source}: the generator does not run: {line}") from error
    return session.metadata


def _require(provider: str) -> None:
    """Refuse a provider that cannot run here, as far as that is known without opening a session."""
    if provider == "auto":
        return
    reason = reason_against(provider, import_onnxruntime().get_available_providers())
    if reason is not None:
        raise ModelFileError(f"{reason}; or serve with --provider auto")


def _manifest(generator_file: str, version: str) -> dict[str, Any]:
    """What TorchServe reads of a model folder."""
    return {
        "createdOn": "01/01/2000 00:00:00",  # TorchServe warns without it and does nothing with it
        "runtime": "python",
        "archiverVersion": "0.12.0",
        "model": {
            "modelName": MODEL_NAME,
            "modelVersion": version,
            "serializedFile": generator_file,
            "handler": HANDLER_FILE,
            "configFile": CONFIG_FILE,
        },
    }
