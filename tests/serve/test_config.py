"""What one server may be told."""

from __future__ import annotations

import pytest

from handlers.variants import VARIANTS
from serve.capacity import cores
from serve.config import ServeConfig
from serve.errors import ConfigError


def test_threads_share_the_cores_among_the_workers() -> None:
    assert ServeConfig().threads_per_worker == cores()
    assert ServeConfig(workers=cores()).threads_per_worker == 1
    assert ServeConfig(workers=1000).threads_per_worker == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "localhost"])
def test_loopback_needs_no_proxy(host: str) -> None:
    assert ServeConfig(host=host).base_url == f"http://{host}:8080"


def test_beyond_loopback_needs_a_proxy() -> None:
    for host in ("0.0.0.0", "192.168.1.5", "example.com"):
        with pytest.raises(ConfigError, match="--behind-proxy"):
            ServeConfig(host=host)
    assert ServeConfig(host="0.0.0.0", behind_proxy=True).base_url == "http://127.0.0.1:8080"
    assert ServeConfig(host="0.0.0.0", token_auth=True).base_url == "http://127.0.0.1:8080"


@pytest.mark.parametrize("host", ["", "::1", "a b", "http://x", "x:80", "x\ny"])
def test_hosts_that_torchserve_cannot_parse(host: str) -> None:
    with pytest.raises(ConfigError, match="no IPv6"):
        ServeConfig(host=host, behind_proxy=True)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"port": 65536}, r"port must be 0 \(any free port\) ... 65535"),
        ({"metrics_port": -1}, "metrics_port must be"),
        ({"port": 8081}, "needs a port of its own"),
        ({"workers": 0}, "workers must be at least 1"),
        ({"threads": 0}, "threads must be at least 1"),
        ({"variant": "fp16"}, f"variant must be one of {', '.join(VARIANTS)}, got 'fp16'"),
        ({"access_log": "log/access.json"}, "access_log must be a whole path"),
        ({"max_batch_delay_ms": 0}, "max_batch_delay_ms must be at least 1"),
        ({"provider": "gpu"}, "provider must be one of auto, cuda, tensorrt, openvino, openvino-bf16, cpu, got 'gpu'"),
    ],
)
def test_impossible_settings(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        ServeConfig(**settings)  # type: ignore[arg-type]
    assert caught.value.exit_code == 2


def test_on_free_ports_leaves_no_fixed_port() -> None:
    config = ServeConfig.on_free_ports(workers=2, port=9999)
    assert (config.port, config.management_port, config.workers) == (9999, 0, 2)
    assert config.metrics_port == config.grpc_inference_port == config.grpc_management_port == 0
