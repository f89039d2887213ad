"""The rendered files, read back by the parsers of their formats."""

from __future__ import annotations

import xml.etree.ElementTree
from pathlib import Path

import pytest
import yaml

from handlers.session import usable_cores
from handlers.sngan_handler import DEFAULT_MAX_RESPONSE_BYTES
from serve.config import (
    HANDLER_MAX_RESPONSE_BYTES,
    MAX_RESPONSE_BYTES,
    ServeConfig,
    config_properties,
    log4j2_xml,
    model_config_yaml,
)
from serve.errors import ConfigError

TORCHSERVE_DEFAULT_MAX_RESPONSE_BYTES = 6_553_500


def properties(config: ServeConfig, store: Path = Path("/tmp/store")) -> dict[str, str]:
    lines = config_properties(config, store).splitlines()
    return dict(line.split("=", 1) for line in lines)


def test_everything_but_predictions_stays_on_loopback() -> None:
    settings = properties(ServeConfig(host="0.0.0.0", behind_proxy=True, port=80))
    assert settings["inference_address"] == "http://0.0.0.0:80"
    assert settings["management_address"] == "http://127.0.0.1:8081"
    assert settings["metrics_address"] == "http://127.0.0.1:8082"
    assert settings["grpc_inference_address"] == "127.0.0.1"
    assert settings["grpc_management_address"] == "127.0.0.1"


def test_safe_settings() -> None:
    settings = properties(ServeConfig())
    assert settings["inference_address"] == "http://127.0.0.1:8080"
    assert settings["enable_model_api"] == "false"
    assert settings["install_py_dep_per_model"] == "false"
    assert settings["max_request_size"] == "1048576"
    assert "http" not in settings["allowed_urls"]
    assert settings["load_models"] == "sngan"


def test_the_handler_refuses_an_answer_before_torchserve_does() -> None:
    assert int(properties(ServeConfig())["max_response_size"]) == MAX_RESPONSE_BYTES
    assert HANDLER_MAX_RESPONSE_BYTES < MAX_RESPONSE_BYTES
    assert DEFAULT_MAX_RESPONSE_BYTES < TORCHSERVE_DEFAULT_MAX_RESPONSE_BYTES


def test_paths_are_escaped_as_java_reads_them() -> None:
    text = config_properties(ServeConfig(), Path("/tmp/ä\\𝄞 store"))
    assert "model_store=/tmp/\\u00e4\\\\\\ud834\\udd1e store\n" in text
    assert text.isascii()


def test_model_config_has_the_types_that_torchserve_wants() -> None:
    record = yaml.safe_load(model_config_yaml(ServeConfig(workers=2, threads=3, provider="cpu", batch_size=4)))
    handler = record.pop("handler")
    assert handler == {"provider": "cpu", "threads": 3, "max_response_bytes": HANDLER_MAX_RESPONSE_BYTES}
    assert record.pop("deviceType") == "cpu"
    assert record["minWorkers"] == record["maxWorkers"] == 2
    assert record["batchSize"] == 4
    assert all(type(value) is int and value > 0 for value in record.values())


def test_threads_share_the_cores_among_the_workers() -> None:
    assert ServeConfig().threads_per_worker == usable_cores()
    assert ServeConfig(workers=usable_cores()).threads_per_worker == 1
    assert ServeConfig(workers=1000).threads_per_worker == 1


def test_log_configuration_is_xml_without_files() -> None:
    root = xml.etree.ElementTree.fromstring(log4j2_xml())
    assert [appender.tag for appender in root.find("Appenders") or []] == ["Console"]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "localhost"])
def test_loopback_needs_no_proxy(host: str) -> None:
    assert ServeConfig(host=host).base_url == f"http://{host}:8080"


def test_beyond_loopback_needs_a_proxy() -> None:
    for host in ("0.0.0.0", "192.168.1.5", "example.com"):
        with pytest.raises(ConfigError, match="--behind-proxy"):
            ServeConfig(host=host)
    assert ServeConfig(host="0.0.0.0", behind_proxy=True).base_url == "http://127.0.0.1:8080"


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
        ({"max_batch_delay_ms": 0}, "max_batch_delay_ms must be at least 1"),
        ({"provider": "gpu"}, "provider must be one of auto, cuda, cpu, got 'gpu'"),
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
