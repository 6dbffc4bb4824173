"""What folder observe/ ships fits together: dashboard, data source, collector, Prometheus and compose.yaml."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
OBSERVE = ROOT / "observe"
DASHBOARD = json.loads((OBSERVE / "grafana/dashboards/headway.json").read_text())
PANELS = DASHBOARD["panels"]
TARGETS = [target for panel in PANELS for target in panel.get("targets", ())]


def load(path: str):
    return yaml.safe_load((OBSERVE / path).read_text())


def test_panels_have_ids_of_their_own_and_do_not_lie_on_each_other():
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    taken = set()
    for panel in PANELS:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24, panel["title"]
        assert not cells & taken, panel["title"]
        taken |= cells


def test_each_panel_but_the_rows_says_what_it_shows_and_asks_for_it():
    for panel in PANELS:
        if panel["type"] != "row":
            assert panel["title"]
            assert panel["description"]
            refs = [target["refId"] for target in panel["targets"]]
            assert len(refs) == len(set(refs)) > 0


def test_everything_is_asked_of_the_provisioned_data_source():
    [source] = load("grafana/provisioning/datasources/prometheus.yaml")["datasources"]
    variables = DASHBOARD["templating"]["list"]
    asked = [one["datasource"] for one in (*TARGETS, *variables, *(p for p in PANELS if p["type"] != "row"))]
    assert asked
    assert all(one == {"type": source["type"], "uid": source["uid"]} for one in asked)
    scraped = load("prometheus.yml")["global"]["scrape_interval"]
    assert source["jsonData"]["timeInterval"] == scraped, "or rates are taken over too short a time"


def test_the_dashboard_uses_no_variable_that_it_does_not_have():
    known = {variable["name"] for variable in DASHBOARD["templating"]["list"]} | {"__rate_interval"}
    assert {name for target in TARGETS for name in re.findall(r"\$(\w+)", target["expr"])} == known


def test_prometheus_understands_its_configuration_and_every_query(tmp_path, missing):
    promtool = shutil.which("promtool") or missing("promtool is not installed: apt install prometheus")
    rules = [
        {"record": f"panel:{index}", "expr": target["expr"].replace("$__rate_interval", "1m").replace("$service", ".*")}
        for index, target in enumerate(TARGETS)
    ]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    for command in (["config", OBSERVE / "prometheus.yml"], ["rules", tmp_path / "rules.yml"]):
        done = subprocess.run([promtool, "check", *command], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_addresses_and_mounts_of_the_profile_meet():
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text())
    services = compose["services"]
    observers = {name for name, service in services.items() if service.get("profiles") == ["observe"]}
    assert observers == {"collector", "prometheus", "grafana"}
    for name in observers:
        for volume in services[name].get("volumes", ()):
            source = volume.split(":")[0]
            assert source in compose["volumes"] or (ROOT / source).exists(), f"{name} mounts {source}"
    collector = load("collector.yaml")
    [scrape] = load("prometheus.yml")["scrape_configs"]
    [target] = scrape["static_configs"][0]["targets"]
    host, _, port = target.partition(":")
    assert host in observers
    assert f":-0.0.0.0:{port}}}" in collector["exporters"]["prometheus"]["endpoint"]
    settings = dict(
        line.split("=", 1) for line in (OBSERVE / "compose.env").read_text().splitlines() if not line.startswith("#")
    )
    assert "observe" in settings["COMPOSE_PROFILES"].split(",")
    otlp = collector["receivers"]["otlp"]["protocols"]["http"]["endpoint"]
    assert otlp.endswith(settings["OTEL_EXPORTER_OTLP_ENDPOINT"].removeprefix("http://collector") + "}")


@pytest.mark.parametrize("name", ["collector", "prometheus", "grafana"])
def test_observers_are_pinned_and_may_do_no_more_than_they_need(name):
    service = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"][name]
    assert re.search(r":v?\d+\.\d+\.\d+$", service["image"])
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["user"].split(":")[0] not in {"", "0", "root"}
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
