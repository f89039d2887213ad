"""The rendered files, read back by the parsers of their formats."""

from __future__ import annotations

import xml.etree.ElementTree
from pathlib import Path
from typing import Any

import pytest
import yaml

from handlers.metadata import GeneratorMetadata
from handlers.metrics import METRICS
from handlers.sngan_handler import DEFAULT_MAX_RESPONSE_BYTES
from serve.config import ServeConfig
from serve.config_files import (
    HANDLER_MAX_RESPONSE_BYTES,
    MAX_RESPONSE_BYTES,
    config_properties,
    log4j2_xml,
    metrics_yaml,
    model_config_yaml,
)

TORCHSERVE_DEFAULT_MAX_RESPONSE_BYTES = 6_553_500
METADATA = GeneratorMetadata(name="x", version="1", latent_dim=4, channels=3, height=64, width=64, color_mode="RGB")
BUSY = Path("/store/sngan.busy")
METRICS_FILE = Path("/private/metrics.yaml")


def properties(config: ServeConfig, store: Path = Path("/tmp/store")) -> dict[str, str]:
    lines = config_properties(config, store, METRICS_FILE).splitlines()
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
    text = config_properties(ServeConfig(), Path("/tmp/ä\\𝄞 store"), METRICS_FILE)
    assert "model_store=/tmp/\\u00e4\\\\\\ud834\\udd1e store\n" in text
    assert text.isascii()


def test_model_config_has_the_types_that_torchserve_wants() -> None:
    config = ServeConfig(workers=2, threads=3, provider="cpu", batch_size=4)
    record = yaml.safe_load(model_config_yaml(config, BUSY, METADATA))
    handler = record.pop("handler")
    assert handler == {
        "provider": "cpu",
        "variant": "auto",
        "threads": 3,
        "cores": 6,
        "max_response_bytes": HANDLER_MAX_RESPONSE_BYTES,
        "busy_file": "/store/sngan.busy",
        "log_level": "WARNING",
    }
    assert record.pop("deviceType") == "cpu"
    assert record["minWorkers"] == record["maxWorkers"] == 2
    assert record["batchSize"] == 4
    assert all(type(value) is int and value > 0 for value in record.values())


def test_log_configuration_is_xml_whose_one_file_stays_small() -> None:
    appenders = xml.etree.ElementTree.fromstring(log4j2_xml()).find("Appenders")
    assert appenders is not None
    assert [appender.tag for appender in appenders] == ["Console", "RollingFile"]
    [size] = [policy.get("size") for policy in appenders.iter("SizeBasedTriggeringPolicy")]
    [kept] = [strategy.get("max") for strategy in appenders.iter("DefaultRolloverStrategy")]
    assert (size, kept) == ("1 MB", "1")


def test_without_a_wish_the_batch_fits_the_images() -> None:
    assert yaml.safe_load(model_config_yaml(ServeConfig(), BUSY, METADATA))["batchSize"] == 4


@pytest.mark.parametrize(
    ("settings", "name", "value"),
    [
        ({}, "disable_token_authorization", "true"),
        ({"token_auth": True}, "disable_token_authorization", "false"),
        ({"reloadable": True}, "enable_model_api", "true"),
        ({"reloadable": True}, "management_address", "http://127.0.0.1:8081"),
        ({"reloadable": True}, "allowed_urls", "file:///nowhere/.*"),
    ],
)
def test_what_is_asked_for_opens_nothing_else(settings: dict[str, Any], name: str, value: str) -> None:
    plain, asked = properties(ServeConfig()), properties(ServeConfig(**settings))
    assert asked[name] == value
    assert {key for key in plain if plain[key] != asked[key]} <= {"disable_token_authorization", "enable_model_api"}


def test_the_access_log_is_the_handler_s() -> None:
    record = yaml.safe_load(model_config_yaml(ServeConfig(access_log="/var/log/x"), BUSY, METADATA))
    assert record["handler"]["access_log"] == "/var/log/x"


def test_log4j_says_nothing_of_itself() -> None:
    """On a full disk it would print a stack trace for each line that it cannot write."""
    assert xml.etree.ElementTree.fromstring(log4j2_xml()).attrib["status"] == "fatal"


def test_every_metric_of_the_handler_is_listed_with_the_labels_that_it_is_sent_with() -> None:
    record = yaml.safe_load(metrics_yaml())
    listed = {
        entry["name"]: (kind, entry["unit"], tuple(entry["dimensions"]))
        for kind, entries in record["model_metrics"].items()
        for entry in entries
    }
    assert listed == METRICS
    assert set(record["ts_metrics"]) == {"counter", "gauge", "histogram"}
