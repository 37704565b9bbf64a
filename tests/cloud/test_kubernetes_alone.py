"""What is told of pods, starts and configurations where there is no cluster."""

import subprocess
import sys

import pytest
from kube_site import NAME

from curtail_dist.errors import ConfigError, ProvisionError
from curtail_dist.membership.provision.kubernetes.provisioner import KubernetesProvisioner
from curtail_dist.membership.provision.kubernetes.seen import START, pod_of, seen_of
from curtail_dist.membership.provision.kubernetes.start import read_start, start_text


@pytest.mark.parametrize("container", [{}, {"lastState": None, "state": None}, {"state": {"running": None}}])
def test_a_pod_that_says_little_breaks_nothing(container):
    pod = {
        "metadata": {"name": "p", "annotations": {START: "s"}},
        "spec": {"containers": [{"name": "ranks"}]},
        "status": {"containerStatuses": [{"name": "ranks", **container}]},
    }
    assert pod_of(pod).code is None
    assert seen_of([pod, {}], "s", 1, replaced=True).there


def test_a_sidecar_says_nothing_of_the_ranks():
    state = {"terminated": {"exitCode": 3}}
    pod = {
        "metadata": {"name": "p", "uid": "u"},
        "spec": {"containers": [{"name": "ranks"}, {"name": "proxy"}]},
        "status": {
            "containerStatuses": [
                {"name": "proxy", "state": state, "lastState": state},
                {"name": "ranks", "state": {"running": {}}},
            ]
        },
    }
    assert (pod_of(pod).running, pod_of(pod).code) == (True, None)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "No Name"}, "kubernetes.name"),
        ({"workload": "pod"}, "kubernetes.workload"),
        ({"poll_s": 0.0}, "kubernetes.poll_s"),
        ({"namespace": ""}, "kubernetes.namespace"),
    ],
)
def test_a_wrong_value_of_kubernetes_is_told(make_config, change, said):
    with pytest.raises(ConfigError, match=said):
        make_config(kind="kubernetes", kubernetes={"name": "texas", **change})


def test_a_cluster_that_cannot_be_found_is_one_clear_error(tmp_path, make_config):
    own = {"name": NAME, "kubeconfig": str(tmp_path / "none")}
    with pytest.raises(ProvisionError, match="name its kubeconfig and context"):
        KubernetesProvisioner(make_config(kind="kubernetes", kubernetes=own), tmp_path, "texas")


def test_importing_what_opens_provisioners_imports_no_client():
    name = "curtail_dist.membership.provision.kubernetes.api"
    code = f"import sys, {name}; sys.exit('kubernetes' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_start_reads_back_what_it_wrote():
    told = read_start(start_text({"A": "b"}))
    assert told.variables == {"A": "b"}
    assert told.id != read_start(start_text({"A": "b"})).id
    assert read_start("").id == ""
