"""Two sites whose agents start them in one cluster train one run to its end."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from kube_controllers import Cluster
from kube_server import NAMESPACE
from lengths import write_data

from curtail_dist.coordination import EmbeddedEtcd
from curtail_dist.telemetry.record import read_events

pytestmark = pytest.mark.launch

PROGRAM = Path(__file__).parent.parent / "runtime" / "program.py"
POD = "curtail_dist.membership.provision.kubernetes.pod"
WAIT_S = 100.0
SITES = {"california": "statefulset", "texas": "job"}


def fields(**paths: str) -> list[dict[str, object]]:
    return [{"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in paths.items()]


def manifest(site: str, workload: str) -> dict[str, object]:
    """The site's object, with the command of launch/kubernetes."""
    labels = {"curtail-dist/site": site}
    container = {
        "name": "ranks",
        "image": "curtail:test",
        "command": ["python", "-m", POD, "run"],
        "args": ["--config", "/etc/curtail/run.yaml", "--site", site, "--once", "/run/curtail"],
        "env": fields(
            CURTAIL_START="metadata.annotations['curtail-dist/start']",
            CURTAIL_POD_UID="metadata.uid",
            POD_IP="status.podIP",
        ),
        "lifecycle": {
            "preStop": {
                "exec": {
                    "command": ["python", "-m", POD, "leave", "--once", "/run/curtail", "--within", "60"]
                }
            }
        },
        "volumeMounts": [
            {"name": "once", "mountPath": "/run/curtail"},
            {"name": "run-file", "mountPath": "/etc/curtail/run.yaml", "subPath": "run.yaml"},
        ],
    }
    spec = {
        "containers": [container],
        "terminationGracePeriodSeconds": 120,
        "volumes": [
            {"name": "once", "emptyDir": {}},
            {"name": "run-file", "configMap": {"name": "curtail-run"}},
        ],
    }
    template = {"metadata": {"labels": labels}, "spec": spec}
    metadata = {"name": f"curtail-{site}", "namespace": NAMESPACE}
    if workload == "job":
        spec["restartPolicy"] = "Never"
        job = {"spec": {"backoffLimit": 0, "template": template}}
        made = {"schedule": "0 0 1 1 *", "suspend": True, "jobTemplate": job}
        return {"kind": "CronJob", "metadata": metadata, "spec": made}
    made = {
        "replicas": 0,
        "serviceName": site,
        "selector": {"matchLabels": labels},
        "template": template,
    }
    return {"kind": "StatefulSet", "metadata": metadata, "spec": made}


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.timeout(150)
def test_two_sites_in_a_cluster_train_a_run_to_its_end(tmp_path):
    with EmbeddedEtcd(election_timeout_ms=200) as etcd, Cluster(tmp_path / "cluster") as cluster:
        kubeconfig = tmp_path / "kubeconfig"
        kubeconfig.write_text(cluster.server.kubeconfig())
        kubernetes = {"kubeconfig": str(kubeconfig), "context": "here", "poll_s": 0.2}
        sites = {
            site: {
                "address": "env:POD_IP",
                "signal": {"kind": "constant", "value": 10.0},
                "power": {"train_w": 100.0, "idle_w": 10.0},
                "provisioner": {
                    "kind": "kubernetes",
                    "kubernetes": {**kubernetes, "name": f"curtail-{site}", "workload": workload},
                },
            }
            for site, workload in SITES.items()
        }
        tree = {
            "run": {"name": "pods", "directory": str(tmp_path / "run"), "seed": 1},
            "sites": sites,
            "coordination": {"endpoints": [etcd.endpoint]},
            "round": {"steps": 20},
            "policy": {"poll_s": 0.5},
            "data": {"manifest": str(write_data(tmp_path / "data", 800))},
            "train": {"program": str(PROGRAM), "step_s": 0.02},
        }
        text = yaml.safe_dump(tree)
        (tmp_path / "run.yaml").write_text(text)
        cluster.kubelet.maps = {"curtail-run": {"run.yaml": text}}
        for site, workload in SITES.items():
            cluster.server.apply(manifest(site, workload))
        words = [word for site in SITES for word in ("--site", site)]
        command = [sys.executable, "-m", "curtail_dist.cli.main", "site", "--unchecked"]
        log = tmp_path / "agents.log"
        with (
            log.open("w") as output,
            subprocess.Popen(
                [*command, "--config", str(tmp_path / "run.yaml"), *words],
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "POD_IP": "127.0.0.1"},
            ) as agents,
        ):
            try:
                code = agents.wait(WAIT_S)
            except subprocess.TimeoutExpired:
                agents.send_signal(signal.SIGKILL)
                pytest.fail(log.read_text() + said_by(cluster))
        assert code == 0, log.read_text() + said_by(cluster)
        said = {site: json.loads(lines[-1]) for site, lines in outputs(cluster).items()}
        assert len({one["hash"] for one in said.values()}) == 1
        seen = sorted(row for one in said.values() for row in one["seen"])
        assert len(seen) == len(set(seen))
        events = list(read_events(tmp_path / "run"))
        assert not [record for record in events if record.event == "ranks_died"]
        assert {record["code"] for record in events if record.event == "ranks_exited"} == {0}
        with cluster.server.lock:
            assert cluster.server.objects["statefulsets"]["curtail-california"]["spec"]["replicas"] == 0
        assert cluster.made == len(SITES)


def outputs(cluster: Cluster) -> dict[str, list[str]]:
    """What each pod's first container wrote before it ended, by its name."""
    return {
        name: [line for line in log.read_text().splitlines() if line.startswith("{")]
        for name, log in cluster.kubelet.logs.items()
    }


def said_by(cluster: Cluster) -> str:
    return "".join(f"\n--- {name}\n{log.read_text()[-3000:]}" for name, log in cluster.kubelet.logs.items())
