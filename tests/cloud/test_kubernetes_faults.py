"""An API server that fails in every way: orders are carried out once, and nobody waits for it."""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from faulty import Answer, Fault
from kube_controllers import Cluster
from kube_server import NAMESPACE, TOKEN, status
from kube_site import NAME, Site, manifest, pods_template
from provision_contract import ended

from curtail_dist.config import RunConfig
from curtail_dist.errors import ProvisionError
from curtail_dist.membership.provision import keeper
from curtail_dist.membership.provision.kubernetes.job import job_from
from curtail_dist.membership.provision.kubernetes.seen import START
from curtail_dist.membership.provision.kubernetes.start import start_text

pytestmark = [pytest.mark.integration, pytest.mark.fault]

FAULTS = {
    "500": {"kind": "status", "answer": status(500, "InternalError", "etcdserver: leader changed")},
    "503": {"kind": "status", "answer": status(503, "ServiceUnavailable", "down", **{"Retry-After": "0"})},
    "429": {"kind": "status", "answer": status(429, "TooManyRequests", "wait", **{"Retry-After": "0"})},
    "torn": {"kind": "torn"},
    "slow": {"kind": "slow"},
    "silent": {"kind": "silent"},
    "dropped": {"kind": "dropped"},
    "lost": {"kind": "lost"},
}


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(tmp_path / "cluster") as cluster:
        yield cluster


@pytest.fixture
def make_site(
    cluster: Cluster, tmp_path: Path, make_config: Callable[..., RunConfig]
) -> Iterator[Callable[..., Site]]:
    made: list[Site] = []

    def make(workload: str, **given: object) -> Site:
        made.append(Site(cluster, tmp_path, make_config, workload, **given))
        made[-1].apply()
        return made[-1]

    yield make
    cluster.server.faults.clear()
    for site in made:
        site.subject.provisioner.close()


SOME = ("500", "torn", "silent")
STARTS = [("job", "POST", one) for one in FAULTS] + [("statefulset", "PATCH", one) for one in FAULTS]
STARTS += [("statefulset", "GET", one) for one in SOME]
ENDS = [("job", "DELETE", one) for one in FAULTS] + [("daemonset", "PATCH", one) for one in SOME]


@pytest.mark.parametrize(("workload", "method", "fault"), STARTS)
def test_a_start_is_carried_out_once_whatever_the_answer(make_site, workload, method, fault):
    site = make_site(workload)
    site.subject.eventually(ended)
    fired = site.server.fail(method=method, **FAULTS[fault])
    site.subject.provisioner.start()
    site.subject.eventually(lambda state: state.running and not state.waiting and site.subject.starts())
    assert fired in site.server.fired
    assert site.subject.starts() == 1
    assert site.cluster.made == 1


@pytest.mark.parametrize(("workload", "method", "fault"), ENDS)
def test_an_order_to_end_is_carried_out_whatever_the_answer(make_site, workload, method, fault):
    site = make_site(workload)
    site.subject.begin()
    fired = site.server.fail(method=method, **FAULTS[fault])
    site.subject.provisioner.terminate()
    site.subject.eventually(ended)
    assert fired in site.server.fired
    site.until(lambda: not site.pods())


@pytest.mark.parametrize("workload", ["statefulset", "daemonset"])
def test_a_change_that_somebody_else_made_meanwhile_is_read_and_kept(make_site, workload):
    site = make_site(workload)
    site.subject.eventually(ended)
    site.server.meanwhile = [{"metadata": {"labels": {"other": str(number)}}} for number in (1, 2)]
    site.subject.begin()
    assert site.server.meanwhile == []
    assert site.found()["metadata"]["labels"]["other"] == "2"
    assert site.subject.starts() == 1


def test_a_site_that_another_agent_switched_on_meanwhile_is_that_agents(make_site):
    site = make_site("statefulset")
    site.subject.eventually(ended)
    template = {"metadata": {"annotations": {START: start_text({"WHO": "another"})}}}
    site.server.meanwhile = [{"spec": {"replicas": 1, "template": template}}]
    site.subject.provisioner.start({"WHO": "we"})
    site.subject.eventually(lambda state: state.running and not state.waiting and site.subject.starts())
    assert site.subject.said("WHO") == "another"
    assert site.cluster.made == 1


@pytest.mark.parametrize("workload", ["statefulset", "daemonset", "job"])
def test_two_agents_that_start_at_once_start_one_site(make_site, workload):
    site = make_site(workload)
    other = site.open()
    try:
        for one in (site.subject.provisioner, other):
            site.subject.eventually(ended, one)
        for one in (site.subject.provisioner, other):
            one.start({"WHO": str(id(one))})
        for one in (site.subject.provisioner, other):
            site.subject.eventually(lambda state: state.running and not state.waiting, one)
        site.until(lambda: site.subject.starts() == 1)
        assert site.cluster.made == 1
    finally:
        other.close()


def test_a_server_that_wants_to_be_left_alone_is(make_site):
    site = make_site("statefulset")
    site.subject.eventually(ended)
    answer = status(429, "TooManyRequests", "wait", **{"Retry-After": "1"})
    fault = site.server.fail("status", answer=answer)
    site.until(lambda: fault in site.server.fired)
    with site.server.lock:
        at, before = site.server.asked[-1].at, len(site.server.asked)
    site.subject.provisioner.start()
    site.subject.eventually(lambda state: state.running and not state.waiting)
    assert site.server.asked[before].at - at >= 1.0


def test_no_server_has_an_order_wait_for_longer_than_a_bound(make_site, monkeypatch):
    monkeypatch.setattr(keeper, "_LONGEST_RETRY_S", 0.2)
    site = make_site("statefulset")
    site.subject.eventually(ended)
    answer = status(429, "TooManyRequests", "wait", **{"Retry-After": "3600"})
    assert site.server.pause_after(site.server.fail("status", method="GET", answer=answer)) < 2.0
    site.subject.begin()


@pytest.mark.parametrize("kind", ["slow", "silent"])
def test_an_answer_that_does_not_come_whole_in_time_is_not_waited_for(make_site, kind):
    site = make_site("statefulset")
    site.subject.eventually(ended)
    assert site.server.pause_after(site.server.fail(kind, method="GET", path="statefulsets")) < 1.5


def test_orders_and_polls_wait_for_nothing(make_site):
    site = make_site("statefulset")
    site.subject.eventually(ended)
    site.server.fail("silent", times=100)
    began = time.monotonic()
    site.subject.provisioner.start()
    for _ in range(100):
        site.subject.provisioner.poll()
    site.subject.provisioner.terminate()
    site.subject.provisioner.kill()
    assert time.monotonic() - began < 0.3


def test_polls_ask_the_server_no_more_often_than_the_run_file_says(make_site):
    site = make_site("statefulset", poll_s=0.5)
    site.subject.eventually(ended)
    before = site.server.count("GET")
    deadline = time.monotonic() + 1.2
    while time.monotonic() < deadline:
        site.subject.provisioner.poll()
        time.sleep(0.001)
    assert site.server.count("GET") - before <= 2 * 3


def test_a_start_that_nobody_takes_in_time_has_failed(make_site):
    site = make_site("statefulset", accept_s=0.3)
    site.subject.eventually(ended)
    site.server.fail("status", times=10_000)
    site.subject.provisioner.start()
    state = site.subject.eventually(lambda state: bool(state.waiting) and "500" in state.waiting)
    state = site.subject.eventually(ended)
    assert state.code == 1
    assert "could not be started in 0.3 s" in state.failure


def test_a_start_that_failed_but_took_effect_is_cleared_away(make_site):
    site = make_site("statefulset", accept_s=0.3)
    site.subject.eventually(ended)
    site.server.fail("lost", method="PATCH", then=[Fault(kind="status", times=10_000)])
    site.subject.provisioner.start()
    site.subject.eventually(ended)
    site.until(lambda: site.cluster.made == 1)
    site.server.faults.clear()
    site.until(lambda: site.found()["spec"]["replicas"] == 0 and not site.pods())


def test_what_was_known_long_ago_is_not_known_any_more(make_site, monkeypatch):
    monkeypatch.setattr(keeper, "_SILENT_S", 0.2)
    site = make_site("statefulset")
    site.subject.begin()
    site.server.fail("status", times=10_000, answer=status(503, "ServiceUnavailable", "down"))

    def unknown() -> bool:
        try:
            site.subject.provisioner.poll()
        except ProvisionError as error:
            return "still run" in str(error) and "503: down" in str(error)
        return False

    site.until(unknown)
    site.server.faults.clear()
    site.subject.eventually(lambda state: state.running)
    assert site.subject.starts() == 1


@pytest.mark.parametrize("code", [401, 403])
def test_a_server_that_does_not_know_who_asks_says_so(make_site, code):
    site = make_site("statefulset")
    site.subject.eventually(ended)
    refused = status(code, "Forbidden", 'statefulsets.apps "curtail-texas" is forbidden')
    site.server.fail("status", method="PATCH", answer=refused)
    site.subject.provisioner.start()
    state = site.subject.eventually(ended)
    assert (
        f'{code}: statefulsets.apps "curtail-texas" is forbidden; give who asks the rights' in state.failure
    )


def test_a_server_that_answers_nonsense_is_one_that_does_not_answer(make_site):
    site = make_site("statefulset")
    site.subject.begin()
    site.server.fail("status", times=3, answer=Answer(body=[1, 2]))
    site.server.fail("status", times=3, answer=Answer(body={"spec": {}}))
    before = len(site.server.fired)
    site.until(lambda: len(site.server.fired) >= before + 6)
    assert site.subject.eventually(lambda state: state.running).ranks
    assert site.cluster.made == 1


def test_a_missing_client_is_one_clear_error(make_site, monkeypatch):
    site = make_site("statefulset")
    for name in [one for one in sys.modules if one.split(".")[0] == "kubernetes"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "kubernetes", None)
    with pytest.raises(ProvisionError, match=r"pip install 'curtail-dist\[kubernetes\]'"):
        site.open()


def test_ranks_that_cannot_be_seen_to_end_are_told_when_the_provisioner_closes(make_site, monkeypatch):
    monkeypatch.setattr(keeper, "_CLOSE_S", 0.3)
    site = make_site("statefulset")
    site.subject.begin()
    site.server.fail("status", times=10_000)
    with pytest.raises(ProvisionError, match=r"may still run, .* after they were to be killed: .* 500"):
        site.subject.provisioner.close()
    site.server.faults.clear()
    site.subject.provisioner = site.open()


def test_no_log_or_repr_holds_the_token(make_site, caplog):
    caplog.set_level(logging.DEBUG)
    site = make_site("statefulset")
    site.server.fail("status", times=2, answer=status(500, "InternalError", "broken"))
    site.subject.begin()
    assert "broken" in caplog.text
    assert TOKEN not in caplog.text + repr(vars(site.subject.provisioner)) + repr(site.config)


def test_the_official_client_reads_every_answer_of_the_double(make_site):
    from kubernetes import client, config

    site = make_site("statefulset")
    for workload in ("job", "daemonset"):
        site.server.apply(manifest(workload, pods_template(site.shared)))
    site.subject.begin()
    found = client.Configuration()
    config.load_kube_config(str(site.folder / "kubeconfig"), context="here", client_configuration=found)
    with client.ApiClient(found) as api:
        apps, batch, core = client.AppsV1Api(api), client.BatchV1Api(api), client.CoreV1Api(api)
        assert apps.read_namespaced_stateful_set(NAME, NAMESPACE).spec.replicas == 1
        assert apps.read_namespaced_daemon_set(NAME, NAMESPACE).spec.template.spec.node_selector
        cron_job = batch.read_namespaced_cron_job(NAME, NAMESPACE)
        assert cron_job.spec.suspend
        job = job_from(api.sanitize_for_serialization(cron_job), nodes=1, start="s")
        assert batch.create_namespaced_job(NAMESPACE, job).metadata.uid
        assert batch.read_namespaced_job(NAME, NAMESPACE).spec.completions == 1
        with pytest.raises(client.ApiException) as caught:
            batch.create_namespaced_job(NAMESPACE, job)
        assert caught.value.status == 409
        (pod,) = [
            one for one in core.list_namespaced_pod(NAMESPACE).items if one.metadata.name == f"{NAME}-0"
        ]
        assert pod.status.container_statuses[0].state.running.started_at
        assert core.delete_namespaced_pod(f"{NAME}-0", NAMESPACE, body={"gracePeriodSeconds": 1})
        body = {"propagationPolicy": "Foreground"}
        assert batch.delete_namespaced_job(NAME, NAMESPACE, body=body)
