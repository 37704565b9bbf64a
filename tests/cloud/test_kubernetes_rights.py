"""Run files of launch/kubernetes and launch/exalsius fit their objects; an agent has what rights it needs."""

import copy
import importlib.util
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from kube_controllers import GPU, Cluster
from kube_server import Access, allowed
from kube_site import Site, pods_template
from kustomization import NAME, ROOT, build, of, site_pods
from provision_contract import ended

from curtail_dist.cli.main import VERBS
from curtail_dist.config import RunConfig
from curtail_dist.config.exalsius import TOKEN_VARIABLE

Json = dict[str, Any]

EXALSIUS = ROOT.parent / "exalsius" / "run.yaml"


def read_run(objects: list[Json], folder: Path, *settings: str) -> RunConfig:
    (held,) = [one for one in of(objects, "ConfigMap") if one["metadata"]["name"] == "curtail-run"]
    path = folder / "run.yaml"
    path.write_text(held["data"]["run.yaml"])
    return RunConfig.from_yaml(path, list(settings))


def test_the_run_file_fits_the_objects(overlay, objects, tmp_path):
    (agent,) = [one for one in of(objects, "Deployment") if one["metadata"]["name"] == f"{NAME}-agent"]
    container = agent["spec"]["template"]["spec"]["containers"][0]
    settings = [word.removeprefix("--set=") for word in container["args"] if word.startswith("--set=")]
    config = read_run(objects, tmp_path, *settings)
    own = config.site("texas").provisioner
    assert own.kubernetes is not None
    assert own.kubernetes.workload == overlay
    assert own.kubernetes.name == NAME
    assert own.kubernetes.namespace == agent["metadata"]["namespace"]
    pods = site_pods(objects)["spec"]["containers"][0]
    assert own.ranks_per_node == pods["resources"]["limits"][GPU]
    mounts = [Path(mount["mountPath"]) for mount in pods["volumeMounts"]]
    assert any(config.run.directory.is_relative_to(mount) for mount in mounts)
    assert config.security.secret_file is not None
    assert config.security.secret_file.parent in mounts
    assert config.coordination.tls is not None
    assert config.coordination.tls.ca.parent in mounts
    addresses = {one["name"] for one in pods["env"]}
    assert config.site("texas").address.removeprefix("env:") in addresses


def test_etcds_members_are_those_that_the_run_file_asks(objects, tmp_path):
    config = read_run(objects, tmp_path)
    (etcd,) = [one for one in of(objects, "StatefulSet") if one["metadata"]["name"] == "etcd"]
    members = [f"etcd-{index}.etcd.curtail.svc" for index in range(etcd["spec"]["replicas"])]
    assert [endpoint.rpartition(":")[0] for endpoint in config.coordination.endpoints] == members
    command = " ".join(etcd["spec"]["template"]["spec"]["containers"][0]["command"])
    cluster = re.search(r"--initial-cluster=(\S+)", command)
    assert cluster is not None
    assert re.findall(r"https://([^:]+):2380", cluster[1]) == members
    hosts = re.findall(r"--host (\S+)", (ROOT / "base" / "kustomization.yaml").read_text())
    assert set(members) <= set(hosts)


def test_the_role_allows_what_the_agent_does_and_nothing_else(overlay, objects, tmp_path, make_config):
    (role,) = of(objects, "Role")
    (binding,) = of(objects, "RoleBinding")
    (account,) = of(objects, "ServiceAccount")
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert [one["name"] for one in binding["subjects"]] == [account["metadata"]["name"]]
    with Cluster(tmp_path / "cluster") as cluster:
        site = Site(cluster, tmp_path, make_config, overlay)
        cluster.server.rules = role["rules"]
        made = copy.deepcopy(next(one for one in objects if one["metadata"]["name"] == NAME
                                  and one["kind"] in ("StatefulSet", "DaemonSet", "CronJob")))  # fmt: skip
        replace_pods(made, pods_template(site.shared))
        cluster.server.apply(made)
        for end in ("finish", "terminate", "kill"):
            site.subject.begin()
            if end == "finish":
                site.subject.finish(0)
            else:
                getattr(site.subject.provisioner, end)()
            site.subject.eventually(ended)
            site.until(lambda: overlay == "job" or not site.pods())
        site.subject.provisioner.close()
        used = cluster.server.accesses
        assert not [one for one in cluster.server.asked if one.path.endswith("/status")]
        for rule in role["rules"]:
            for verb in rule["verbs"]:
                alone = [{**rule, "verbs": [verb]}]
                assert any(allowed(alone, access) for access in used), f"{verb} of {rule} is never used"
        assert Access("get", "apps", "statefulsets", "other") not in used


def replace_pods(made: Json, template: Json) -> None:
    """Give an object the test's pods in place of its own; its labels stay."""
    holder = made["spec"]["jobTemplate"]["spec"] if made["kind"] == "CronJob" else made["spec"]
    before = holder["template"]
    holder["template"] = {
        "metadata": before["metadata"],
        "spec": {**template["spec"], **{
            key: value for key, value in before["spec"].items() if key in ("restartPolicy", "nodeSelector")
        }},
    }  # fmt: skip
    selector = holder["template"]["spec"].get("nodeSelector", {})
    selector.pop("curtail-dist/site", None)


def test_vessims_scenario_plays_a_day(tmp_path):
    import vessim

    spec = importlib.util.spec_from_file_location("scenario", ROOT / "vessim" / "scenario.py")
    assert spec is not None
    assert spec.loader is not None
    scenario = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(scenario)
    start = datetime(2026, 6, 1, tzinfo=UTC)
    environment = scenario.build(vessim.Environment(sim_start=start, step_size=3600), start)
    recorder = environment.add_controller(vessim.Recorder())
    environment.run(until=24 * 3600)
    assert recorder is not None
    grid = scenario.Sunny(start)
    assert grid.at(0.0) == pytest.approx(scenario.NIGHT_G_PER_KWH)
    assert grid.at(12 * 3600.0) == 0.0
    (service,) = [one for one in build(ROOT / "vessim") if one["kind"] == "Service"]
    assert service["spec"]["ports"][0]["port"] == scenario.PORT


def test_exalsius_run_file_loads_and_says_where_its_token_is(tmp_path):
    config = RunConfig.from_yaml(EXALSIUS, [])
    own = config.site("texas").provisioner
    assert own.kind == "exalsius"
    assert own.exalsius is not None
    text = EXALSIUS.read_text()
    assert TOKEN_VARIABLE in text
    assert own.exalsius.url.startswith("https://api.exalsius.ai/v1")


@pytest.mark.parametrize("page", ["kubernetes.md"])
def test_the_documentation_names_files_that_there_are(page):
    text = (ROOT.parent.parent / "docs" / page).read_text()
    named = set(re.findall(r"launch/[\w./-]+", text))
    assert named
    for path in named:
        assert (ROOT.parent.parent / path.rstrip(".")).exists(), path


def test_commands_in_headers_are_verbs_of_curtail():
    files = [*ROOT.rglob("*.yaml"), EXALSIUS, ROOT.parent.parent / "docs" / "kubernetes.md"]
    named = {
        verb
        for file in files
        for verb in re.findall(r"(?:#|-- |    |=\.\.\. )curtail ([a-z]+)", file.read_text())
    }
    assert {"site", "keys", "secret", "status"} <= named <= set(VERBS)
