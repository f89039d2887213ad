"""The settings of one server → the text of TorchServe's configuration files. Nothing here reads or writes.

The safe choice is the default everywhere. TorchServe is no longer maintained and its HTTP stack is from 2020
(netty 4.1.53), so it listens on loopback alone unless the caller says that a proxy stands in front;
management, metrics and both gRPC ports are on loopback always.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import json
from pathlib import Path
from typing import Any

from handlers.session import PROVIDERS, usable_cores
from serve.errors import ConfigError

MODEL_NAME = "sngan"
LOOPBACK = "127.0.0.1"
PORTS = ("port", "management_port", "metrics_port", "grpc_inference_port", "grpc_management_port")
# An answer that is too long must be refused by the handler: at its own limit TorchServe kills the worker.
# 64 images of 256 x 256 RGB are 12 MiB before compression.
MAX_RESPONSE_BYTES = 16 * 2**20
HANDLER_MAX_RESPONSE_BYTES = 15 * 2**20


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ServeConfig:
    """How one server runs. A port of 0 means: any free one, chosen when the server starts.

    Attributes:
        host: where predictions are answered; a name or IPv4 address.
        port, management_port, metrics_port, grpc_inference_port, grpc_management_port: 0 ... 65535.
        behind_proxy: allows a host beyond loopback: a proxy in front does TLS, authentication and limits.
        workers: processes that each hold the model.
        threads: of one run on the CPU, in each worker; None shares the usable cores among the workers.
        provider: ONNX Runtime execution provider: "auto", "cpu" or "cuda".
        batch_size: requests that a worker may take at once. On a CPU batching gains nothing, and above 1
            TorchServe may never answer a request that was in the hands of a worker that died.
        max_batch_delay_ms: how long a worker waits for a batch to fill, ≥ 1.
        response_timeout_s: TorchServe kills a worker that takes longer over a batch.
        startup_timeout_s: a worker that has not loaded the model by then has failed.
        max_request_bytes: longer request bodies are answered with 413 by TorchServe itself.
        queue_size: requests that wait at most; more are answered with 503.
    """

    host: str = LOOPBACK
    port: int = 8080
    management_port: int = 8081
    metrics_port: int = 8082
    grpc_inference_port: int = 7070
    grpc_management_port: int = 7071
    behind_proxy: bool = False
    workers: int = 1
    threads: int | None = None
    provider: str = "auto"
    batch_size: int = 1
    max_batch_delay_ms: int = 1
    response_timeout_s: int = 120
    startup_timeout_s: int = 120
    max_request_bytes: int = 2**20
    queue_size: int = 100

    def __post_init__(self) -> None:
        for name in PORTS:
            if not 0 <= getattr(self, name) <= 65535:
                raise ConfigError(f"{name} must be 0 (any free port) ... 65535, got {getattr(self, name)}")
        chosen = [getattr(self, name) for name in PORTS if getattr(self, name) != 0]
        if len(set(chosen)) != len(chosen):
            raise ConfigError(f"each of {', '.join(PORTS)} needs a port of its own, got {chosen}")
        for name in (
            "workers",
            "batch_size",
            "max_batch_delay_ms",  # TorchServe takes 0 for "not set", which is 100 ms
            "response_timeout_s",
            "startup_timeout_s",
            "max_request_bytes",
            "queue_size",
        ):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.threads is not None and self.threads < 1:
            raise ConfigError(f"threads must be at least 1, got {self.threads}")
        if self.provider not in ("auto", *PROVIDERS):
            raise ConfigError(f"provider must be one of auto, {', '.join(PROVIDERS)}, got {self.provider!r}")
        _check_host(self.host, self.behind_proxy)

    @classmethod
    def on_free_ports(cls, **settings: Any) -> ServeConfig:
        """A configuration that disturbs no other server: every port is 0 unless `settings` says otherwise."""
        return cls(**{**dict.fromkeys(PORTS, 0), **settings})

    @property
    def base_url(self) -> str:
        """Where a client on this machine finds the server."""
        return f"http://{LOOPBACK if self.host == '0.0.0.0' else self.host}:{self.port}"

    @property
    def management_url(self) -> str:
        """Where a program on this machine finds TorchServe's management."""
        return f"http://{LOOPBACK}:{self.management_port}"

    @property
    def threads_per_worker(self) -> int:
        """Threads of one run on the CPU: more than the cores would only make workers wait for one another."""
        return self.threads or max(1, usable_cores() // self.workers)


def _check_host(host: str, behind_proxy: bool) -> None:
    """Refuse what TorchServe cannot parse, and what strangers could reach."""
    if not host or any(character in host for character in ":/^ \t\r\n"):
        raise ConfigError(f"host must be a name or an IPv4 address (TorchServe knows no IPv6), got {host!r}")
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    if not loopback and not behind_proxy:
        raise ConfigError(
            f"host {host} would be reachable from other machines. TorchServe is no longer maintained and its "
            "HTTP stack is from 2020 (netty 4.1.53), so it must not face a network by itself: put a reverse "
            "proxy in front and say so with --behind-proxy, or keep --host 127.0.0.1"
        )


def config_properties(config: ServeConfig, store: Path) -> str:
    """TorchServe's `config.properties`; `store` is the folder that holds the model folder `sngan`."""
    settings = {
        "inference_address": f"http://{config.host}:{config.port}",
        "management_address": f"http://{LOOPBACK}:{config.management_port}",
        "metrics_address": f"http://{LOOPBACK}:{config.metrics_port}",
        "grpc_inference_address": LOOPBACK,
        "grpc_inference_port": config.grpc_inference_port,
        "grpc_management_address": LOOPBACK,
        "grpc_management_port": config.grpc_management_port,
        "model_store": store.as_posix(),
        "load_models": MODEL_NAME,
        # The handler parses bodies itself: strictly, and without a traceback in the log for each bad one.
        "decode_input_request": "false",
        "max_request_size": config.max_request_bytes,
        "max_response_size": MAX_RESPONSE_BYTES,
        # Models cannot be registered over HTTP, and nothing is loaded from an address.
        "enable_model_api": "false",
        "allowed_urls": "file:///nowhere/.*",
        "install_py_dep_per_model": "false",
        # TorchServe's tokens expire after an hour, change at every start, cannot be set, and /ping wants one
        # too: no probe could work. The ports are on loopback; authentication is the proxy's.
        "disable_token_authorization": "true",
        "metrics_mode": "prometheus",
        "disable_system_metrics": "true",
    }
    return "".join(f"{name}={_escaped(str(value))}\n" for name, value in settings.items())


def _escaped(value: str) -> str:
    r"""`value` as a Java properties file holds it: in ISO 8859-1, with \ as the escape character."""
    escaped = []
    for character in value:
        if character == "\\":
            escaped.append("\\\\")
        elif " " <= character <= "~":
            escaped.append(character)
        else:
            code_units = character.encode("utf-16-be")
            escaped += [f"\\u{code_units[i : i + 2].hex()}" for i in range(0, len(code_units), 2)]
    return "".join(escaped)


def model_config_yaml(config: ServeConfig) -> str:
    """The `model-config.yaml` of the model folder.

    It is JSON, which is YAML too. TorchServe drops a value of the wrong type with a mere warning, so every
    number here is an integer.
    """
    record: dict[str, Any] = {
        "minWorkers": config.workers,
        "maxWorkers": config.workers,
        "batchSize": config.batch_size,
        "maxBatchDelay": config.max_batch_delay_ms,
        "responseTimeout": config.response_timeout_s,
        "startupTimeout": config.startup_timeout_s,
        "jobQueueSize": config.queue_size,
        # The session opens its device itself; "gpu" would only add TorchServe's own search for one.
        "deviceType": "cpu",
        "handler": {
            "provider": config.provider,
            "threads": config.threads_per_worker,
            "max_response_bytes": HANDLER_MAX_RESPONSE_BYTES,
        },
    }
    return json.dumps(record, indent=2) + "\n"


def log4j2_xml() -> str:
    """TorchServe's logging, on the console: warnings and worse, and what workers print.

    Its default is 15 lines a request, in files too. A worker's standard output is where TorchServe writes why
    a model did not load; the launcher shows that only then.
    """
    return """<?xml version="1.0" encoding="UTF-8"?>
<Configuration status="error">
  <Appenders>
    <Console name="console" target="SYSTEM_OUT">
      <PatternLayout pattern="%d{ISO8601} %-5p %c{1} %m%n"/>
    </Console>
  </Appenders>
  <Loggers>
    <Logger name="MODEL_LOG" level="info">
      <RegexFilter regex="Backend received inference.*" onMatch="DENY" onMismatch="NEUTRAL"/>
    </Logger>
    <Root level="warn">
      <AppenderRef ref="console"/>
    </Root>
  </Loggers>
</Configuration>
"""
