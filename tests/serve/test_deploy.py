"""The samples in deploy/: read by their parsers, and held against what the server really has."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from handlers.metrics import METRICS
from serve.config import ServeConfig
from serve.config_files import TORCHSERVE_METRICS
from serve.foreground import SETTLE_S

DEPLOY = Path(__file__).parent.parent.parent / "deploy"
DASHBOARD = DEPLOY / "grafana" / "sngan.json"
ALERTS = DEPLOY / "prometheus" / "alerts.yml"
NGINX = [DEPLOY / "proxy" / "nginx.conf", DEPLOY / "kubernetes" / "serve" / "nginx.conf"]
MANIFEST = DEPLOY / "kubernetes" / "serve" / "serve.yaml"
# What Prometheus adds to a histogram's name, and its own word for whether a target answered.
SERIES = {
    f"{name}{end}"
    for name, (kind, _, _) in METRICS.items()
    if kind == "histogram"
    for end in ("_bucket", "_sum", "_count")
}
SERIES |= {name for name, (kind, _, _) in METRICS.items() if kind != "histogram"} | {"up"}
SERIES |= {entry["name"] for entries in TORCHSERVE_METRICS.values() for entry in entries}


def expressions() -> list[str]:
    dashboard = json.loads(DASHBOARD.read_text())
    alerts = yaml.safe_load(ALERTS.read_text())
    found = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    return found + [rule["expr"] for group in alerts["groups"] for rule in group["rules"]]


@pytest.mark.parametrize("expression", expressions())
def test_every_query_asks_for_what_the_server_tells(expression: str) -> None:
    asked = re.findall(r"\b([A-Za-z_]\w*)\{", expression)
    assert asked
    assert set(asked) <= SERIES
    # Labels in `by (…)` are those of the metric, Prometheus's own, or a histogram's.
    [*grouped] = re.findall(r"\bby \(([^)]*)\)", expression)
    known = {label for _, _, labels in METRICS.values() for label in labels} | {"le", "instance"}
    assert {label.strip() for labels in grouped for label in labels.split(",")} <= known


def test_the_dashboard_shows_every_metric_of_the_handler_and_no_panel_twice() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    text = DASHBOARD.read_text() + ALERTS.read_text()
    assert [name for name in METRICS if name not in text] == []
    identifiers = [panel["id"] for panel in dashboard["panels"]]
    assert len(identifiers) == len(set(identifiers))
    places = [tuple(panel["gridPos"].values()) for panel in dashboard["panels"]]
    assert len(places) == len(set(places))


def test_the_queries_are_promql(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool (Prometheus) is not installed")
    rules = [
        {"record": f"rule_{number}", "expr": re.sub(r"\$__rate_interval", "5m", expression).replace("$", "")}
        for number, expression in enumerate(expressions())
    ]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": rules}]}))
    subprocess.run([promtool, "check", "rules", tmp_path / "rules.yml"], check=True, capture_output=True)
    subprocess.run(
        [promtool, "check", "config", DEPLOY / "prometheus" / "prometheus.yml"], check=True, capture_output=True
    )


def test_prometheus_scrapes_loopback_at_the_default_port() -> None:
    [job] = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    [static] = job["static_configs"]
    assert static["targets"] == [f"127.0.0.1:{ServeConfig().metrics_port}"]


@pytest.mark.parametrize("file", NGINX, ids=["proxy", "kubernetes"])
def test_the_proxy_lets_through_predictions_alone(file: Path) -> None:
    text = re.sub(r"#.*", "", file.read_text())
    assert text.count("{") == text.count("}")
    assert re.findall(r"location (?:= )?(/\S*) \{", text)[:2] == ["/predictions/sngan", "/"]
    passed = re.findall(r"proxy_pass (\S+);", text)
    assert [target for target in passed if "8081" in target or "7070" in target or "7071" in target] == []
    assert "limit_except GET POST" in text
    assert re.search(r"client_max_body_size 1m;", text), "TorchServe's own limit, so that the refusal is the proxy's"
    # A worker may take as long as the server lets it.
    timeouts = [int(seconds) for seconds in re.findall(r"proxy_read_timeout (\d+)s;", text)]
    assert all(seconds > ServeConfig().response_timeout_s for seconds in timeouts)


def test_the_pod_is_locked_down_and_given_time_to_end() -> None:
    documents: list[dict[str, Any]] = list(yaml.safe_load_all(MANIFEST.read_text()))
    [pod] = [one["spec"]["template"]["spec"] for one in documents if one["kind"] == "Deployment"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    for container in pod["containers"]:
        security = container["securityContext"]
        assert security["readOnlyRootFilesystem"] is True
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert "memory" in container["resources"]["limits"]
    server = pod["containers"][0]
    assert "0.0.0.0" not in server["args"], "its proxy is in the pod"
    assert "ports" not in server
    waited = float(server["lifecycle"]["preStop"]["exec"]["command"][1])
    java_s = 5.0
    assert pod["terminationGracePeriodSeconds"] > waited + SETTLE_S + java_s
    [policy] = [one["spec"] for one in documents if one["kind"] == "NetworkPolicy"]
    assert policy["egress"] == []


def test_the_manifests_can_be_built() -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed")
    built = subprocess.run(
        [kubectl, "kustomize", MANIFEST.parent], check=True, capture_output=True, text=True, timeout=60
    )
    kinds = [one["kind"] for one in yaml.safe_load_all(built.stdout)]
    assert set(kinds) >= {"Deployment", "Service", "NetworkPolicy", "ConfigMap"}
