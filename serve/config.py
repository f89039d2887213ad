"""The settings of one server, checked. Nothing here reads or writes.

The safe choice is the default everywhere. TorchServe is no longer maintained and its HTTP stack is from 2020
(netty 4.1.53), so it listens on loopback alone unless the caller says that a proxy stands in front, or asks for
tokens; management, metrics and both gRPC ports are on loopback always.
"""

from __future__ import annotations

import dataclasses
import ipaddress
from typing import Any

from handlers.providers import PROVIDERS
from handlers.variants import VARIANTS
from serve.capacity import cores, fitting_batch_size
from serve.errors import ConfigError

MODEL_NAME = "sngan"
LOOPBACK = "127.0.0.1"
PORTS = ("port", "management_port", "metrics_port", "grpc_inference_port", "grpc_management_port")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ServeConfig:
    """How one server runs. A port of 0 means: any free one, chosen when the server starts.

    Attributes:
        host: where predictions are answered; a name or IPv4 address.
        port, management_port, metrics_port, grpc_inference_port, grpc_management_port: 0 ... 65535.
        behind_proxy: allows a host beyond loopback: a proxy in front does TLS, authentication and limits.
        token_auth: TorchServe asks for its tokens, of predictions too; this allows a host beyond loopback as well.
        reloadable: TorchServe's model API is on, on loopback, so that `sngan reload` can swap the model.
        workers: processes that each hold the model.
        threads: of one run on the CPU, in each worker; None shares the usable cores among the workers.
        provider: ONNX Runtime execution provider: "auto" or one of `handlers.providers.PROVIDERS`.
        variant: the generator file's precision: "auto", "float32", "float16" or "int8".
        batch_size: requests that a worker may take at once; None is `capacity.fitting_batch_size`. Above 1 TorchServe
            never answers those that a worker was gathering when it died, within the delay below.
        max_batch_delay_ms: how long a worker waits for a batch to fill, ≥ 1.
        response_timeout_s: TorchServe kills a worker that takes longer over a batch.
        startup_timeout_s: a worker that has not loaded the model by then has failed.
        max_request_bytes: longer request bodies are answered with 413 by TorchServe itself.
        queue_size: requests that wait at most; more are answered with 503.
        access_log: a file that gets a JSON line for each request that reaches a worker; None writes none.
    """

    host: str = LOOPBACK
    port: int = 8080
    management_port: int = 8081
    metrics_port: int = 8082
    grpc_inference_port: int = 7070
    grpc_management_port: int = 7071
    behind_proxy: bool = False
    token_auth: bool = False
    reloadable: bool = False
    workers: int = 1
    threads: int | None = None
    provider: str = "auto"
    variant: str = "auto"
    batch_size: int | None = None
    max_batch_delay_ms: int = 1
    response_timeout_s: int = 120
    startup_timeout_s: int = 120
    max_request_bytes: int = 2**20
    queue_size: int = 100
    access_log: str | None = None

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
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} must be at least 1, got {value}")
        if self.threads is not None and self.threads < 1:
            raise ConfigError(f"threads must be at least 1, got {self.threads}")
        if self.provider not in ("auto", *PROVIDERS):
            raise ConfigError(f"provider must be one of auto, {', '.join(PROVIDERS)}, got {self.provider!r}")
        if self.variant not in VARIANTS:
            raise ConfigError(f"variant must be one of {', '.join(VARIANTS)}, got {self.variant!r}")
        if self.access_log is not None and not self.access_log.startswith("/"):
            raise ConfigError(f"access_log must be a whole path (workers run elsewhere), got {self.access_log!r}")
        _check_host(self.host, guarded=self.behind_proxy or self.token_auth)

    @classmethod
    def on_free_ports(cls, **settings: Any) -> ServeConfig:
        """A configuration that disturbs no other server: every port is 0 unless `settings` says otherwise."""
        return cls(**{**dict.fromkeys(PORTS, 0), **settings})

    def batch_size_for(self, height: int, width: int) -> int:
        """`batch_size`, or what fits images of so many pixels."""
        return self.batch_size or fitting_batch_size(height, width)

    @property
    def base_url(self) -> str:
        """Where a client on this machine finds the server."""
        return f"http://{LOOPBACK if self.host == '0.0.0.0' else self.host}:{self.port}"

    @property
    def management_url(self) -> str:
        """Where a program on this machine finds TorchServe's management."""
        return f"http://{LOOPBACK}:{self.management_port}"

    @property
    def metrics_url(self) -> str:
        """What Prometheus scrapes, from this machine."""
        return f"http://{LOOPBACK}:{self.metrics_port}/metrics"

    @property
    def threads_per_worker(self) -> int:
        """Threads of one run on the CPU: more than the cores would only make workers wait for one another."""
        return self.threads or max(1, cores() // self.workers)


def _check_host(host: str, guarded: bool) -> None:
    """Refuse what TorchServe cannot parse, and what strangers could reach."""
    if not host or any(character in host for character in ":/^ \t\r\n"):
        raise ConfigError(f"host must be a name or an IPv4 address (TorchServe knows no IPv6), got {host!r}")
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    if not loopback and not guarded:
        raise ConfigError(
            f"host {host} would be reachable from other machines. TorchServe is no longer maintained and its "
            "HTTP stack is from 2020 (netty 4.1.53), so it must not face a network by itself: put a reverse "
            "proxy in front and say so with --behind-proxy, or, in a network that you trust with unencrypted "
            "tokens, ask for them with --token-auth, or keep --host 127.0.0.1"
        )
