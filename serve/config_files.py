"""The settings of one server → the text of TorchServe's configuration files. Nothing here reads or writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from handlers.metadata import GeneratorMetadata
from handlers.metrics import METRICS
from serve.config import LOOPBACK, MODEL_NAME, ServeConfig

# An answer that is too long must be refused by the handler: at its own limit TorchServe kills the worker.
# 64 images of 256 x 256 RGB are 12 MiB before compression.
MAX_RESPONSE_BYTES = 16 * 2**20
HANDLER_MAX_RESPONSE_BYTES = 15 * 2**20
_LEVEL = ["Level", "Hostname"]
_MODEL = ["model_name", "model_version", "hostname"]
# The version is "default" unless a client names one in the path, and then it exists: no unbounded label.
TORCHSERVE_METRICS: dict[str, list[dict[str, Any]]] = {
    "counter": [
        # Answers on every port, those included that TorchServe makes without a worker: 404, 413, 503 …
        {"name": "Requests2XX", "unit": "Count", "dimensions": _LEVEL},
        {"name": "Requests4XX", "unit": "Count", "dimensions": _LEVEL},
        {"name": "Requests5XX", "unit": "Count", "dimensions": _LEVEL},
        {"name": "ts_inference_requests_total", "unit": "Count", "dimensions": _MODEL},
        {"name": "ts_inference_latency_microseconds", "unit": "Microseconds", "dimensions": _MODEL},
        {"name": "ts_queue_latency_microseconds", "unit": "Microseconds", "dimensions": _MODEL},
    ],
    "gauge": [],
    "histogram": [],
}


def config_properties(config: ServeConfig, store: Path, metrics_file: Path) -> str:
    """TorchServe's `config.properties`.

    Args:
        config: no port is 0.
        store: the folder that holds the model folder `sngan`.
        metrics_file: holds `metrics_yaml()`.
    """
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
        # Models cannot be registered over HTTP unless `sngan reload` is to work, and then from loopback and of
        # our own folder alone: nothing is loaded from an address.
        "enable_model_api": _truth(config.reloadable),
        "allowed_urls": "file:///nowhere/.*",
        "install_py_dep_per_model": "false",
        # TorchServe's tokens expire after an hour, change at every start, cannot be set, and /ping wants one
        # too: no probe could work. So they are off unless asked for; authentication is the proxy's.
        "disable_token_authorization": _truth(not config.token_auth),
        "metrics_mode": "prometheus",
        "metrics_config": metrics_file.as_posix(),
        "disable_system_metrics": "true",
    }
    return "".join(f"{name}={_escaped(str(value))}\n" for name, value in settings.items())


def _truth(value: bool) -> str:
    return "true" if value else "false"


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


def model_config_yaml(config: ServeConfig, busy_file: Path, metadata: GeneratorMetadata) -> str:
    """The `model-config.yaml` of a model folder whose workers lock `busy_file` while they work.

    The generator in it is that of `metadata`.

    It is JSON, which is YAML too. TorchServe drops a value of the wrong type with a mere warning, so every
    number here is an integer.
    """
    record: dict[str, Any] = {
        "minWorkers": config.workers,
        "maxWorkers": config.workers,
        "batchSize": config.batch_size_for(metadata.height, metadata.width),
        "maxBatchDelay": config.max_batch_delay_ms,
        "responseTimeout": config.response_timeout_s,
        "startupTimeout": config.startup_timeout_s,
        "jobQueueSize": config.queue_size,
        # The session opens its device itself; "gpu" would only add TorchServe's own search for one.
        "deviceType": "cpu",
        "handler": {
            "provider": config.provider,
            "threads": config.threads_per_worker,
            "cores": config.workers * config.threads_per_worker,
            "variant": config.variant,
            "max_response_bytes": HANDLER_MAX_RESPONSE_BYTES,
            "busy_file": str(busy_file),
            # At INFO TorchServe's worker tells of every request twice, and what it says is dropped: 3 % of the time of
            # a small request, beside a generator of 8 ms.
            "log_level": "WARNING",
        },
    }
    if config.access_log is not None:
        record["handler"]["access_log"] = config.access_log
    return json.dumps(record, indent=2) + "\n"


def metrics_yaml() -> str:
    """What TorchServe's metrics port tells: of TorchServe's own what an operator needs, and all of the handler's.

    JSON, which is YAML too. A metric that is not listed here is dropped. TorchServe adds the label Hostname.
    """
    own: dict[str, list[dict[str, Any]]] = {"counter": [], "gauge": [], "histogram": []}
    for name, (kind, unit, labels) in METRICS.items():
        own[kind].append({"name": name, "unit": unit, "dimensions": list(labels)})
    return json.dumps({"dimensions": [], "ts_metrics": TORCHSERVE_METRICS, "model_metrics": own}, indent=2) + "\n"


def log4j2_xml() -> str:
    """TorchServe's logging, on the console: warnings and worse, and what workers print.

    Its default is 15 lines a request, in files too. A worker's standard output is where TorchServe writes why
    a model did not load; the launcher shows that only then, and `sngan reload` reads it in the file, which is kept
    small. Log4j says nothing of itself: on a full disk that would be a stack trace for each line that it cannot write.
    """
    return """<?xml version="1.0" encoding="UTF-8"?>
<Configuration status="fatal">
  <Appenders>
    <Console name="console" target="SYSTEM_OUT">
      <PatternLayout pattern="%d{ISO8601} %-5p %c{1} %m%n"/>
    </Console>
    <RollingFile name="model" fileName="${env:LOG_LOCATION}/workers.log"
                 filePattern="${env:LOG_LOCATION}/workers.log.%i">
      <PatternLayout pattern="%d{ISO8601} %-5p %c{1} %m%n"/>
      <Policies><SizeBasedTriggeringPolicy size="1 MB"/></Policies>
      <DefaultRolloverStrategy max="1"/>
    </RollingFile>
  </Appenders>
  <Loggers>
    <Logger name="MODEL_LOG" level="info">
      <RegexFilter regex="Backend received inference.*" onMatch="DENY" onMismatch="NEUTRAL"/>
      <AppenderRef ref="model"/>
    </Logger>
    <Root level="warn">
      <AppenderRef ref="console"/>
    </Root>
  </Loggers>
</Configuration>
"""
