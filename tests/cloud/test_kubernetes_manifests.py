"""launch/kubernetes, launch/exalsius: right by the API's own schema, whole, no more rights than needed."""

import copy
import importlib.util
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from kube_schema import faults_of
from kustomization import NAME, ROOT, build, of, site_pods, templates

from curtail_dist.membership.provision.kubernetes.scaled import NEVER
from curtail_dist.membership.provision.kubernetes.seen import START
from curtail_dist.membership.provision.kubernetes.start import POD_VARIABLE, START_VARIABLE

Json = dict[str, Any]

EXALSIUS = ROOT.parent / "exalsius" / "run.yaml"
ORDERLY_S = 45
"""What a leash gives its launcher after SIGTERM."""


def test_the_reader_builds_what_kubectl_builds(overlay, objects):
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not on PATH; the kustomizations are built by the reader alone")
    command = [kubectl, "kustomize", str(ROOT / overlay)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr

    def by_name(found: list[Json]) -> dict[tuple[str, str], Json]:
        return {(one["kind"], one["metadata"]["name"]): one for one in found}

    assert by_name(list(yaml.safe_load_all(done.stdout))) == by_name(objects)


def test_every_object_is_right_by_the_api_own_schema(objects):
    for one in objects:
        assert faults_of(one) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda one: one["spec"].update(replica=1), "StatefulSet.spec.replica is unknown"),
        (lambda one: one["spec"].update(replicas="1"), "StatefulSet.spec.replicas is '1'; it must be a int"),
        (lambda one: one["spec"].pop("selector"), "StatefulSet.spec.selector is missing"),
        (
            lambda one: one["spec"]["template"]["spec"]["containers"][0].pop("name"),
            "containers[0].name is missing",
        ),
        (lambda one: one.update(kind="Statefulset"), "there is no kind 'Statefulset'"),
    ],
)
def test_the_schema_finds_a_planted_fault(change, said):
    one = copy.deepcopy(next(one for one in of(build(ROOT / "statefulset"), "StatefulSet")))
    change(one)
    assert said in "; ".join(faults_of(one))


def test_no_object_comes_twice_and_all_are_in_the_namespace(objects):
    names = [(one["kind"], one["metadata"]["name"]) for one in objects]
    assert len(set(names)) == len(names)
    (namespace,) = of(objects, "Namespace")
    spaces = {one["metadata"].get("namespace") for one in objects if one is not namespace}
    assert spaces == {namespace["metadata"]["name"]}


def test_selectors_find_their_pods(objects):
    pods = {one["metadata"]["name"]: template for one, template in templates(objects)}
    labels = [template["metadata"]["labels"].items() for template in pods.values()]
    for one in of(objects, "Deployment", "StatefulSet", "DaemonSet"):
        chosen = one["spec"]["selector"]["matchLabels"]
        assert chosen.items() <= pods[one["metadata"]["name"]]["metadata"]["labels"].items()
    selectors = [one["spec"]["selector"] for one in of(objects, "Service")]
    selectors += [one["spec"]["selector"]["matchLabels"] for one in of(objects, "PodDisruptionBudget")]
    for policy in of(objects, "NetworkPolicy"):
        selectors.append(policy["spec"]["podSelector"].get("matchLabels", {}))
        for rule in policy["spec"].get("ingress", []):
            for peer in rule["from"]:
                for choice in peer.get("podSelector", {}).get("matchExpressions", []):
                    selectors += [{choice["key"]: value} for value in choice["values"]]
                selectors.append(peer.get("podSelector", {}).get("matchLabels", {}))
    for selector in selectors:
        assert any(selector.items() <= own for own in labels), selector
    services = {one["metadata"]["name"] for one in of(objects, "Service")}
    for one in of(objects, "StatefulSet"):
        assert one["spec"]["serviceName"] in services


def test_no_two_workloads_would_fight_over_pods(objects):
    pods = [template["metadata"]["labels"].items() for _, template in templates(objects)]
    for one in of(objects, "Deployment", "StatefulSet", "DaemonSet"):
        chosen = one["spec"]["selector"]["matchLabels"].items()
        assert sum(chosen <= own for own in pods) == 1


def test_services_and_probes_name_ports_that_there_are(objects):
    for one, template in templates(objects):
        ports = {port["name"] for port in template["spec"]["containers"][0].get("ports", [])}
        probe = template["spec"]["containers"][0].get("readinessProbe")
        assert probe is None or probe["httpGet"]["port"] in ports
        for service in of(objects, "Service"):
            if service["spec"]["selector"].items() <= template["metadata"]["labels"].items():
                wanted = {port["targetPort"] for port in service["spec"].get("ports", [])}
                assert wanted <= ports, one["metadata"]["name"]


def test_what_is_referred_to_is_there_or_is_the_users_as_said(objects):
    there = {(one["kind"], one["metadata"]["name"]) for one in objects}
    said = (ROOT / "base" / "kustomization.yaml").read_text()
    secrets = dict(re.findall(r"create secret generic (\S+) (.+)", said))
    for one, template in templates(objects):
        spec = template["spec"]
        claims = {claim["metadata"]["name"] for claim in one["spec"].get("volumeClaimTemplates", [])}
        volumes = {volume["name"]: volume for volume in spec.get("volumes", [])}
        mounted = {mount["name"] for mount in spec["containers"][0].get("volumeMounts", [])}
        assert mounted == set(volumes) | claims
        if "serviceAccountName" in spec:
            assert ("ServiceAccount", spec["serviceAccountName"]) in there
        else:
            assert spec["automountServiceAccountToken"] is False
        for volume in volumes.values():
            if "configMap" in volume:
                assert ("ConfigMap", volume["configMap"]["name"]) in there
            if "persistentVolumeClaim" in volume:
                assert ("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]) in there
            if "secret" in volume:
                assert volume["secret"]["secretName"] in secrets


def test_files_of_secrets_are_those_that_the_header_makes(objects):
    said = (ROOT / "base" / "kustomization.yaml").read_text()
    made = {
        name: {Path(path).name for path in re.findall(r"--from-file=(\S+)", files)}
        for name, files in re.findall(r"create secret generic (\S+) (.+)", said)
    }
    for _, template in templates(objects):
        held = {volume["name"]: volume for volume in template["spec"].get("volumes", [])}
        for mount in template["spec"]["containers"][0].get("volumeMounts", []):
            secret = held.get(mount["name"], {}).get("secret")
            if secret is None:
                continue
            words = yaml.safe_dump(objects)
            for file in re.findall(rf"{mount['mountPath']}/([\w.-]+)", words):
                assert file in made[secret["secretName"]]


def test_pods_need_no_root(objects):
    for _, template in templates(objects):
        spec, container = template["spec"], template["spec"]["containers"][0]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert not any("hostPath" in volume for volume in spec.get("volumes", []))
        assert not spec.get("hostNetwork")
        assert ":" in container["image"]
        assert not container["image"].endswith(":latest")


def test_a_sites_pod_has_what_its_command_needs(objects):
    pods = site_pods(objects)["spec"]
    container = pods["containers"][0]
    fields = {
        one["name"]: one["valueFrom"]["fieldRef"]["fieldPath"]
        for one in container["env"]
        if "valueFrom" in one
    }
    assert fields == {
        START_VARIABLE: f"metadata.annotations['{START}']",
        POD_VARIABLE: "metadata.uid",
        "POD_IP": "status.podIP",
    }
    module = container["command"][2]
    assert importlib.util.find_spec(module) is not None
    hook = container["lifecycle"]["preStop"]["exec"]["command"]
    assert hook[2] == module
    within = float(hook[hook.index("--within") + 1])
    assert pods["terminationGracePeriodSeconds"] > within + ORDERLY_S
    once = container["args"][container["args"].index("--once") + 1]
    assert hook[hook.index("--once") + 1] == once
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pods["volumes"]}
    assert volumes[mounts[once]]["emptyDir"] == {}
    assert volumes[mounts["/dev/shm"]]["emptyDir"]["medium"] == "Memory"


def test_a_site_is_switched_off_until_its_agent_says_otherwise(overlay, objects):
    (one,) = [one for one in objects if one["metadata"]["name"] == NAME and one["kind"].lower() in
              ("statefulset", "daemonset", "cronjob")]  # fmt: skip
    spec = one["spec"]
    if overlay == "statefulset":
        assert spec["replicas"] == 0
        assert spec["persistentVolumeClaimRetentionPolicy"] == {
            "whenScaled": "Retain",
            "whenDeleted": "Retain",
        }
    elif overlay == "daemonset":
        assert spec["template"]["spec"]["nodeSelector"][NEVER] == "true"
    else:
        assert spec["suspend"] is True
        job = spec["jobTemplate"]["spec"]
        assert job["backoffLimit"] == 0
        assert job["template"]["spec"]["restartPolicy"] == "Never"


def test_every_file_says_on_top_how_it_is_used():
    files = [*ROOT.rglob("*.yaml"), EXALSIUS]
    assert len(files) > 12
    for file in files:
        first = file.read_text().splitlines()[0]
        assert first.startswith("# "), file
        assert len(first) > 30, file
