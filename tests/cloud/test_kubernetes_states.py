"""What is told of pods that wait, are stuck, are taken away, or end; and whose objects are touched."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from kube_controllers import Cluster
from kube_server import Node
from kube_site import LABELS, NAME, Site, manifest, pods_template
from provision_contract import ended

from curtail_dist.config import RunConfig
from curtail_dist.errors import ProvisionError

WORKLOADS = ("job", "statefulset", "daemonset")

pytestmark = pytest.mark.integration


@pytest.fixture
def make_site(tmp_path: Path, make_config: Callable[..., RunConfig]) -> Iterator[Callable[..., Site]]:
    with ExitStack() as stack:
        cluster = stack.enter_context(Cluster(tmp_path / "cluster"))

        def make(workload: str, **given: Any) -> Site:
            site = Site(cluster, tmp_path, make_config, workload, **given)
            stack.callback(site.subject.provisioner.close)
            return site

        yield make


def test_pods_wait_for_free_gpus_and_begin_when_there_are_some(make_site):
    site = make_site("statefulset")
    site.apply(gpus=8)
    site.cluster.server.nodes = [Node("small", gpus=4)]
    site.subject.eventually(ended)
    site.subject.provisioner.start()
    state = site.subject.eventually(lambda state: "Unschedulable" in state.waiting)
    assert state.waiting == (
        f"pod {NAME}-0: Unschedulable: 0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
    )
    assert state.ranks == ()
    site.server.nodes.append(Node("large"))
    site.subject.eventually(lambda state: state.running and not state.waiting and state.ranks)


def test_an_image_that_cannot_be_pulled_is_waited_for_and_then_a_failure(make_site):
    site = make_site("statefulset", stuck_s=0.5)
    site.apply()
    site.cluster.kubelet.missing_images.add("curtail:test")
    site.subject.eventually(ended)
    site.subject.provisioner.start()
    site.subject.eventually(lambda state: 'ImagePullBackOff: Back-off pulling image "' in state.waiting)
    state = site.subject.eventually(ended)
    assert state.code == 1
    assert state.failure.startswith(f"for 0.5 s they could not begin: pod {NAME}-0: ImagePullBackOff")
    site.until(lambda: site.found()["spec"]["replicas"] == 0 and not site.pods())


def test_a_pod_that_waits_for_a_node_is_no_failure_however_long(make_site):
    site = make_site("statefulset", stuck_s=0.05, accept_s=0.05)
    site.apply(gpus=9)
    site.subject.eventually(ended)
    site.subject.provisioner.start()
    site.subject.eventually(lambda state: "Unschedulable" in state.waiting)
    before = site.server.count("GET", "pods")
    site.until(lambda: site.server.count("GET", "pods") > before + 5)
    assert site.subject.provisioner.poll().running


@pytest.mark.parametrize("workload", ["statefulset", "daemonset"])
def test_a_container_that_ended_in_order_is_not_run_again_and_its_object_is_switched_off(make_site, workload):
    site = make_site(workload)
    site.apply()
    site.subject.begin()
    site.subject.finish(0)
    site.until(lambda: not site.pods())
    assert site.subject.provisioner.poll().code == 0
    if workload == "statefulset":
        assert site.found()["spec"]["replicas"] == 0
    else:
        assert "curtail-dist/never" in site.found()["spec"]["template"]["spec"]["nodeSelector"]


def test_a_job_that_has_ended_stays_with_its_pods_until_the_next_start(make_site):
    site = make_site("job")
    site.apply()
    site.subject.begin()
    first = site.found()["metadata"]["uid"]
    site.subject.finish(0)
    site.subject.eventually(ended)
    before = site.server.count("GET", "jobs")
    site.until(lambda: site.server.count("GET", "jobs") > before + 5)
    assert [pod["status"]["phase"] for pod in site.pods()] == ["Succeeded"]
    assert site.server.count("DELETE") == 0
    site.subject.provisioner.start()
    site.subject.eventually(lambda state: state.running and site.subject.starts() == 2)
    assert site.found()["metadata"]["uid"] != first


def test_what_has_ended_while_no_agent_looked_is_no_end_of_a_new_agents_ranks(make_site):
    site = make_site("job")
    site.apply()
    site.subject.begin()
    site.subject.finish(3)
    other = site.open()
    try:
        assert site.subject.eventually(ended, other).code is None
        other.start()
        site.subject.eventually(lambda state: state.running and site.subject.starts() == 2, other)
    finally:
        other.close()


@pytest.mark.parametrize("workload", ["statefulset", "job"])
def test_an_evicted_pod_is_replaced_and_waited_for(make_site, workload):
    site = make_site(workload)
    site.apply()
    before = site.subject.begin()
    with site.server.lock:
        site.cluster.evict(next(site.server.pods(LABELS)))
    state = site.subject.eventually(lambda state: state.running and state.ranks not in ((), before.ranks))
    assert state.waiting == ""
    site.until(lambda: site.subject.starts() == 2)


def test_a_set_that_somebody_else_scales_down_is_reclaimed(make_site):
    site = make_site("statefulset")
    site.apply()
    site.subject.begin()
    with site.server.lock:
        found = site.server.objects["statefulsets"][NAME]
        found["spec"]["replicas"] = 0
        site.server.touch(found)
    state = site.subject.eventually(ended)
    assert (state.code, state.reclaimed) in (
        (0, f"StatefulSet {NAME} was switched off by somebody else"),
        (143, ""),  # its launcher was seen to end by the signal: not in order
    )


def test_a_job_whose_time_is_up_is_reclaimed(make_site):
    site = make_site("job")
    template = pods_template(site.shared)
    made = manifest("job", template)
    made["spec"]["jobTemplate"]["spec"]["activeDeadlineSeconds"] = 1
    site.server.apply(made)
    site.subject.eventually(ended)
    site.subject.provisioner.start()  # whose second may be over before anyone looks
    state = site.subject.eventually(lambda state: ended(state) and state.code is not None)
    assert state.reclaimed in ("time limit of its Job", "")
    assert (state.code == 0) == bool(state.reclaimed)


def test_a_suspended_job_is_waited_for(make_site):
    site = make_site("job")
    made = manifest("job", pods_template(site.shared))
    made["spec"]["jobTemplate"]["spec"]["suspend"] = True
    site.server.apply(made)
    site.subject.eventually(ended)
    site.subject.provisioner.start()
    site.until(lambda: site.server.objects["jobs"])
    with site.server.lock:
        told = {"type": "Suspended", "status": "True", "reason": "JobSuspended", "message": "queued"}
        site.server.objects["jobs"][NAME]["status"]["conditions"] = [told]
    site.subject.eventually(lambda state: state.waiting == f"Job {NAME} is suspended: JobSuspended: queued")


def test_a_site_of_two_pods_has_begun_when_both_run_and_ended_when_one_has_failed(make_site):
    site = make_site("statefulset", nodes=2)
    site.apply(gpus=8)
    site.subject.eventually(ended)
    site.subject.provisioner.start()
    state = site.subject.eventually(lambda state: "Unschedulable" in state.waiting)
    assert len(state.ranks) <= 1
    site.server.nodes.append(Node("node-1"))
    site.subject.eventually(lambda state: len(state.ranks) == 2 and not state.waiting)
    site.until(lambda: len(site.started()) == 2)
    os.kill(pid_of_a_launcher(site), signal.SIGKILL)
    assert site.subject.eventually(ended).code == 137
    site.until(lambda: not site.pods())


def pid_of_a_launcher(site: Site) -> int:
    for one in Path("/proc").iterdir():
        if one.name.isdigit():
            try:
                words = (one / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if str(site.shared).encode() in words:
                return int(one.name)
    raise AssertionError("no launcher runs")


def test_a_daemon_set_follows_the_nodes_that_come(make_site):
    site = make_site("daemonset")
    template = pods_template(site.shared)
    made = manifest("daemonset", template)
    made["spec"]["template"]["spec"]["nodeSelector"]["site"] = "texas"
    site.server.apply(made)
    site.subject.eventually(ended)
    site.subject.provisioner.start()
    site.subject.eventually(lambda state: state.waiting == "0 of 1 pods are there")
    site.server.nodes.append(Node("green", labels={"site": "texas"}))
    site.subject.eventually(lambda state: state.running and not state.waiting)
    assert [pod["spec"]["nodeName"] for pod in site.pods()] == ["green"]


def test_a_site_whose_manifests_are_missing_says_what_to_do(make_site):
    site = make_site("statefulset")
    site.subject.eventually(ended)
    site.subject.provisioner.start()
    state = site.subject.eventually(ended)
    assert f"there is no StatefulSet {NAME}" in state.failure
    assert "apply the site's manifests first" in state.failure


def test_pods_of_others_are_left_alone(make_site):
    site = make_site("statefulset")
    site.apply()
    other = manifest("statefulset", pods_template(site.shared))
    other["metadata"]["name"] = "other"
    other["spec"]["selector"]["matchLabels"] = {"app": "other"}
    other["spec"]["template"]["metadata"]["labels"] = {"app": "other"}
    other["spec"]["replicas"] = 1
    site.server.apply(other)
    site.until(lambda: site.subject.starts() == 1)
    site.subject.provisioner.start()
    site.subject.eventually(lambda state: state.running and site.subject.starts() == 2)
    site.subject.provisioner.close()
    with site.server.lock:
        (left,) = site.server.pods({"app": "other"})
    assert "deletionTimestamp" not in left["metadata"]
    assert left["status"]["phase"] == "Running"


def test_a_pod_that_ignores_sigterm_is_killed(make_site):
    site = make_site("statefulset")
    site.apply(stubborn=True, terminationGracePeriodSeconds=600)
    site.subject.begin()
    site.subject.provisioner.terminate()
    site.until(lambda: all("deletionTimestamp" in pod["metadata"] for pod in site.pods()))
    state = site.subject.provisioner.poll()
    assert state.running and state.grace_s == 600.0
    site.subject.provisioner.kill()
    assert site.subject.eventually(ended).code == 137


def test_a_closed_provisioner_leaves_no_thread(make_site):
    site = make_site("statefulset")
    site.subject.eventually(ended)
    site.subject.provisioner.close()
    assert not [one for one in threading.enumerate() if one.name == "keeper-texas"]
    with pytest.raises(ProvisionError, match="closed"):
        site.subject.provisioner.start()
