"""What watches a run asks for what its agents export: Prometheus, alerts, dashboard, operating.md."""

import json
import re

import pytest
from launchfiles import COMPOSE, LAUNCH, METRICS, OPERATING, check_query, composed, load

from curtail_dist.config import RunConfig

DASHBOARD = json.loads((LAUNCH / "grafana" / "curtail.json").read_text())
ALERTS = [rule for group in load("prometheus", "alerts.yml")["groups"] for rule in group["rules"]]
_DURATION = re.compile(r"\d+(ms|s|m|h|d)")


# Prometheus


def test_prometheus_asks_each_agent_and_etcd_where_they_answer():
    config = load("prometheus", "prometheus.yml")
    assert config.keys() == {"global", "rule_files", "scrape_configs"}
    assert all(_DURATION.fullmatch(value) for value in config["global"].values())
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    assert all(job.keys() == {"job_name", "static_configs"} for job in jobs.values())
    targets = {name: job["static_configs"][0]["targets"] for name, job in jobs.items()}
    run = RunConfig.from_yaml(COMPOSE / "run.yaml")
    port = run.telemetry.prometheus.rpartition(":")[2]
    assert targets["curtail"] == [f"{site}:{port}" for site in run.sites]
    assert targets["etcd"] == ["etcd:2381"]
    for names in (("compose.yaml",), ("compose.yaml", "compose.tls.yaml")):
        services = composed(*names)["services"]
        assert "--listen-metrics-urls=http://0.0.0.0:2381" in services["etcd"]["command"]
        mounted = [mount.split(":")[0] for mount in services["prometheus"]["volumes"]]
        assert {f"../prometheus/{name}" for name in ("prometheus.yml", *config["rule_files"])} <= {*mounted}


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_asks_for_what_is_exported_and_says_what_it_saw(rule: dict):
    assert rule.keys() <= {"alert", "expr", "for", "labels", "annotations"}
    known = check_query(rule["expr"])
    assert _DURATION.fullmatch(rule.get("for", "0s"))
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"])) <= known
    grouped = re.search(r"\bby \(([^)]*)\)", rule["expr"])
    if grouped:  # no other label is left of its series
        assert set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"])) <= {
            label.strip() for label in grouped[1].split(",")
        }


def test_every_alert_has_one_name_and_stands_in_the_documentation():
    names = [rule["alert"] for rule in ALERTS]
    assert len(names) == len(set(names))
    assert all(f"`{name}`" in OPERATING.read_text() for name in names)


# Documentation


def test_the_documentation_names_every_metric_and_no_other():
    told = set(re.findall(r"`(curtail_\w+)`", OPERATING.read_text())) - {"curtail_dist"}
    assert told == METRICS.keys()


# Grafana


def test_panels_have_ids_of_their_own_and_do_not_lie_over_each_other():
    panels = DASHBOARD["panels"]
    ids = [panel["id"] for panel in panels]
    assert len(ids) == len(set(ids))
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert max(x for x, _ in cells) < 24
        assert not cells & taken, panel["title"]
        taken |= cells


@pytest.mark.parametrize("panel", DASHBOARD["panels"], ids=lambda panel: panel["title"])
def test_a_panel_asks_for_what_is_exported_of_the_chosen_run_and_sites(panel: dict):
    assert panel["type"] in ("stat", "timeseries", "state-timeline")
    assert panel["title"]
    assert panel["targets"]
    references = [target["refId"] for target in panel["targets"]]
    assert len(references) == len(set(references))
    for target in panel["targets"]:
        known = check_query(target["expr"])
        assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= known
        selectors = re.findall(r"\{[^{}]*\}", target["expr"])
        assert selectors
        assert all('run="$run", site=~"$site"' in selector for selector in selectors)
        for one in (panel, target):
            assert one["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


def test_run_and_site_are_chosen_among_what_is_exported():
    variables = {one["name"]: one for one in DASHBOARD["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert variables["datasource"]["query"] == "prometheus"
    for name in ("run", "site"):
        query = variables[name]["query"]["query"]
        found = re.fullmatch(r"label_values\((.*), (\w+)\)", query)
        assert found, query
        assert found[2] == name
        assert name in check_query(found[1])
    assert variables["site"]["multi"]
    assert variables["site"]["includeAll"]


def test_the_dashboard_shows_what_it_is_for():
    asked = "".join(target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"])
    for metric in (
        "curtail_site_stage",
        "curtail_site_phase",
        "curtail_grid_intensity_grams_per_kilowatthour",
        "curtail_grid_threshold_grams_per_kilowatthour",
        "curtail_tokens_total",
        "curtail_loss",
        "curtail_emissions_grams_total",
        "curtail_energy_joules_total",
        "curtail_stall_seconds_total",
        "curtail_bytes_sent_total",
        "curtail_deaths_total",
    ):
        assert metric in asked


def test_grafana_is_given_the_dashboard_and_prometheus_where_it_looks():
    source = load("grafana", "provisioning", "datasources", "prometheus.yaml")["datasources"][0]
    services = composed("compose.yaml")["services"]
    assert source["url"] == "http://prometheus:9090"
    assert "prometheus" in services
    folder = load("grafana", "provisioning", "dashboards", "curtail.yaml")["providers"][0]["options"]["path"]
    mounts = dict(mount.split(":")[:2] for mount in services["grafana"]["volumes"])
    assert mounts["../grafana/curtail.json"] == f"{folder}/curtail.json"
    assert mounts["../grafana/provisioning"] == "/etc/grafana/provisioning"
    home = services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{folder}/curtail.json"


# The reader of queries itself


@pytest.mark.parametrize(
    "text",
    [
        "curtail_token_total",
        'curtail_tokens_total{node="x"}',
        'curtail_tokens_total{phase="train"}',
        "sum by (rank) (curtail_tokens_total)",
        'sum(curtail_tokens_total{run="x"}',
        "guess(curtail_tokens_total)",
        "curtail_tokens_total{run=x}",
    ],
)
def test_a_query_for_what_nobody_exports_is_found(text: str):
    with pytest.raises((AssertionError, ValueError)):
        check_query(text)


def test_a_query_is_read_whole():
    text = 'sum by (site) (rate(curtail_tokens_total{run="$run", site=~"a|b"}[5m])) / on (site) up > 3.6e6'
    with pytest.raises(AssertionError):
        check_query(text.replace("on (site)", "on (phase)"))
    assert check_query(text) >= {"run", "site", "job"}
