"""Who takes part in `sngan bench serve`: our server on each provider and in both modes, and others on the same model.

All servers run at once and take turns: those that are not asked wait for requests, which costs next to nothing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from handlers.providers import PROVIDERS, reason_against
from handlers.session import import_onnxruntime
from handlers.variants import choose
from serve.bench.memory import Memory, memory_of
from serve.bench.raw import RawRuntime, raw_runtime
from serve.bench.rivals import Rival
from serve.capacity import plan
from serve.client import SnganClient
from serve.config import MODEL_NAME, ServeConfig
from serve.errors import ServeError
from serve.launcher import RunningServer, running_server

THROUGHPUT, LATENCY = MODES = ("throughput", "latency")
MAIN_FILE = "generator.onnx"

# Starts another server for our generator file, with so many workers and threads of each.
OpenRival = Callable[[Path, int, int], AbstractContextManager[Rival]]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Contender:
    """A running server.

    Attributes:
        name: unique in a run.
        url: where it takes POSTs.
        pid: of its root process.
        provider: ONNX Runtime's, by our name; None if the server is not ours.
        variant: the generator file's precision; None as above.
        mode: of `MODES`; None as above.
        workers: processes with the model that the baseline has too.
        threads: of one run in each, likewise.
        batch_size: requests that a worker takes at once; None if the server is not ours.
        raw: the baseline, ONNX Runtime without a server.
        generator: the file that ours runs.
        first_answer_s: from the start to the first 200.
    """

    name: str
    url: str
    pid: int
    provider: str | None = None
    variant: str | None = None
    mode: str | None = None
    workers: int
    threads: int
    batch_size: int | None = None
    raw: RawRuntime
    generator: Path
    first_answer_s: float

    def memory(self) -> Memory:
        """What it holds now."""
        return memory_of(self.pid)


@dataclasses.dataclass(kw_only=True, slots=True)
class Field:
    """Those that run, the reasons against those that do not, by name, and what they serve.

    Attributes:
        classes: of the model.
        float32_bytes: size of its main file.
    """

    contenders: list[Contender] = dataclasses.field(default_factory=list)
    left_out: dict[str, str] = dataclasses.field(default_factory=dict)
    classes: int = 0
    float32_bytes: int = 0


@contextlib.contextmanager
def opened(
    source: Path,
    *,
    providers: Sequence[str] | None,
    modes: Sequence[str],
    variant: str,
    batch_size: int | None,
    rivals: Mapping[str, OpenRival],
    say: Callable[[str], object],
) -> Iterator[Field]:
    """Start everybody; stop all of it at the end.

    Args:
        source: a `.mar` or a generator `.onnx` file.
        providers: those named must run; None is each that the installed ONNX Runtime package has and that runs here.
        modes: of `MODES`.
        variant: as for `sngan serve`.
        batch_size: likewise, in the mode throughput.
        rivals: by name; one that does not start is left out. They are compared with ours for throughput on the CPU
            provider, and left out without it.
        say: is told the progress.

    Raises:
        ServeError: a provider that was named does not run, or none does.
    """
    available = import_onnxruntime().get_available_providers()
    size = source.stat().st_size
    field = Field()
    with contextlib.ExitStack() as stack:
        for provider in PROVIDERS if providers is None else providers:
            try:
                if (reason := reason_against(provider, available)) is not None:
                    raise ServeError(reason)
                for mode in modes:
                    say(f"starting sngan serve on {provider} for {mode}")
                    lone = mode == LATENCY
                    chosen = plan(provider, size, latency=lone, batch_size=None if lone else batch_size)
                    settings = {"provider": provider, "variant": variant, **dataclasses.asdict(chosen)}
                    config = ServeConfig.on_free_ports(**settings)
                    field.contenders.append(_ours(stack, field, source, config, mode))
            except ServeError as error:
                if providers is not None:
                    raise
                field.left_out[f"provider {provider}"] = str(error)
        if not field.contenders:
            raise ServeError(f"nothing can be measured: {next(iter(field.left_out.values()))}")
        ours = next((one for one in field.contenders if (one.provider, one.mode) == ("cpu", THROUGHPUT)), None)
        for name, open_rival in rivals.items():
            if ours is None:
                field.left_out[name] = "compared with the CPU provider in the mode throughput, which does not take part"
                continue
            say(f"starting {name}")
            try:
                rival = stack.enter_context(open_rival(ours.generator, ours.workers, ours.threads))
            except ServeError as error:
                field.left_out[name] = str(error)
                continue
            field.contenders.append(
                dataclasses.replace(
                    ours,
                    name=rival.name,
                    url=rival.url,
                    pid=rival.pid,
                    provider=None,
                    variant=None,
                    mode=None,
                    batch_size=None,
                    first_answer_s=rival.first_answer_s,
                )
            )
        yield field


def _ours(stack: contextlib.ExitStack, field: Field, source: Path, config: ServeConfig, mode: str) -> Contender:
    """Start our server and its baseline; note in `field` what is served."""
    started = time.monotonic()
    server = stack.enter_context(running_server(source, config))
    answer = SnganClient(server.base_url).request({})
    first_answer_s = time.monotonic() - started
    generator = _generator(server)
    field.classes = server.metadata.num_classes
    field.float32_bytes = (generator.parent / MAIN_FILE).stat().st_size
    raw = stack.enter_context(raw_runtime(generator, config.provider, config.workers, config.threads_per_worker))
    return Contender(
        name=f"sngan, {config.provider}, {mode}",
        url=server.predictions_url,
        pid=server.pid,
        provider=config.provider,
        variant=answer.headers["x-sngan-variant"],
        mode=mode,
        workers=config.workers,
        threads=config.threads_per_worker,
        batch_size=config.batch_size_for(server.metadata.height, server.metadata.width),
        raw=raw,
        generator=generator,
        first_answer_s=first_answer_s,
    )


def _generator(server: RunningServer) -> Path:
    """The file that the server's workers run, in its own folder."""
    folder = server.folder / "store" / MODEL_NAME
    return folder / choose(folder, MAIN_FILE, server.config.provider, server.config.variant)
