"""Machines that Exalsius adds and takes out: the contract, and every way in which its API can fail."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from exalsius_server import CLUSTER, TOKEN, ExalsiusServer, problem
from faulty import Answer
from provision_contract import VARIABLES, ProvisionContract, Subject, ended

from curtail_dist.config import RunConfig
from curtail_dist.config.exalsius import TOKEN_VARIABLE
from curtail_dist.errors import ConfigError, ProvisionError
from curtail_dist.membership.provision import open_provisioner
from curtail_dist.membership.provision.exalsius.provisioner import ExalsiusProvisioner

NODES = ("0a0a0a0a-0000-4000-8000-000000000001", "0a0a0a0a-0000-4000-8000-000000000002")
WAIT_S = 20.0


def exalsius(url: str, nodes: tuple[str, ...] = NODES[:1], **given: float) -> dict[str, object]:
    own = {"cluster": CLUSTER, "nodes": list(nodes), "url": f"{url}/v1", "poll_s": 0.05, "timeout_s": 0.5}
    return {"kind": "exalsius", "exalsius": {**own, **given}}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ExalsiusServer]:
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    with ExalsiusServer(*NODES) as server:
        yield server


@pytest.fixture
def config(server: ExalsiusServer, make_config: Callable[..., RunConfig]) -> RunConfig:
    return make_config(**exalsius(server.url))


@pytest.fixture
def subject(server: ExalsiusServer, config: RunConfig, tmp_path: Path) -> Iterator[Subject]:
    def open_one() -> ExalsiusProvisioner:
        return ExalsiusProvisioner(config, tmp_path / "run.yaml", "texas")

    def refuse() -> None:
        server.status[NODES[0]] = "OCCUPIED"

    provisioner = open_one()
    yield Subject(
        provisioner=provisioner,
        finish=lambda code: server.take_out(),
        starts=lambda: server.added,
        refuse=refuse,
        said=VARIABLES.get,  # a machine is told nothing: its ranks are the cluster's
        reopen=open_one,
    )
    provisioner.close()


class TestExalsius(ProvisionContract):
    @pytest.fixture
    def subject(self, subject: Subject) -> Subject:
        return subject

    @pytest.mark.skip("how ranks end is not seen from here: their machines stay, or are taken away")
    def test_ranks_that_fail_leave_another_code(self, subject):  # type: ignore[override]
        pass

    @pytest.mark.skip("a machine reads no variables: the DaemonSet's pods are told nothing of a start")
    def test_ranks_find_the_variables_of_their_start(self, subject):  # type: ignore[override]
        pass


def test_machines_linger_until_they_are_taken_out(subject, server):
    assert subject.begin().lingers
    subject.provisioner.terminate()
    assert subject.eventually(ended).code == 0
    assert server.cluster == []


def test_machines_that_somebody_else_takes_out_are_reclaimed(subject, server):
    subject.begin()
    server.take_out()
    state = subject.eventually(ended)
    assert (state.code, state.reclaimed) == (
        0,
        "its machines were taken out of the cluster by somebody else",
    )


def test_a_machine_that_is_on_its_way_is_waited_for(subject, server):
    server.deploys = False
    subject.eventually(ended)
    subject.provisioner.start()
    subject.eventually(lambda state: state.waiting == f"machine {NODES[0]} is staged")
    server.status[NODES[0]] = "OCCUPIED"
    subject.eventually(lambda state: state.running and not state.waiting)


def test_some_of_a_sites_machines_are_a_site_that_waits(server, make_config, tmp_path):
    server.cluster.append(NODES[0])
    server.status[NODES[0]] = "OCCUPIED"
    provisioner = ExalsiusProvisioner(make_config(**exalsius(server.url, NODES)), tmp_path, "texas")
    try:
        subject = Subject(
            provisioner=provisioner, finish=print, starts=lambda: server.added, refuse=print, said=str
        )
        subject.eventually(lambda state: state.waiting == "1 of 2 machines are in the cluster")
    finally:
        provisioner.close()
    assert server.cluster == []


FAULTS = {
    "500": {"kind": "status"},
    "429": {"kind": "status", "answer": problem(429, "Too Many Requests", "wait", **{"Retry-After": "0"})},
    "torn": {"kind": "torn"},
    "slow": {"kind": "slow"},
    "silent": {"kind": "silent"},
    "dropped": {"kind": "dropped"},
    "lost": {"kind": "lost"},
}


@pytest.mark.fault
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_start_is_carried_out_once_whatever_its_answer(subject, server, method, fault):
    subject.eventually(ended)
    fired = server.fail(method=method, **FAULTS[fault])
    subject.provisioner.start()
    subject.eventually(lambda state: state.running and not state.waiting)
    assert fired in server.fired
    assert server.added == 1


@pytest.mark.fault
@pytest.mark.parametrize("fault", FAULTS)
def test_an_order_to_end_is_carried_out_whatever_its_answer(subject, server, fault):
    subject.begin()
    fired = server.fail(method="DELETE", **FAULTS[fault])
    subject.provisioner.terminate()
    subject.eventually(ended)
    assert fired in server.fired
    assert server.cluster == []


@pytest.mark.fault
def test_a_server_that_wants_to_be_left_alone_is(subject, server):
    subject.eventually(ended)
    answer = problem(429, "Too Many Requests", "slow down", **{"Retry-After": "1"})
    fault = server.fail("status", answer=answer)
    subject.eventually(lambda _: fault in server.fired)
    with server.lock:
        at = server.asked[-1].at
        before = len(server.asked)
    subject.provisioner.start()
    subject.eventually(lambda state: state.running and not state.waiting)
    assert server.asked[before].at - at >= 1.0


@pytest.mark.fault
def test_a_no_to_what_is_there_already_is_a_yes(subject, server):
    subject.eventually(ended)
    already = problem(409, "Conflict", "The node is already in the cluster.")
    fired = server.fail("done", method="POST", answer=already)
    subject.provisioner.start()
    subject.eventually(lambda state: state.running and not state.waiting)
    assert fired in server.fired
    assert server.count("POST") == 1


@pytest.mark.fault
@pytest.mark.parametrize("kind", ["slow", "silent"])
def test_an_answer_that_does_not_come_whole_in_time_is_not_waited_for(subject, server, kind):
    subject.eventually(ended)
    assert server.pause_after(server.fail(kind, method="GET")) < 1.5


@pytest.mark.fault
def test_orders_and_polls_wait_for_nothing(subject, server):
    subject.eventually(ended)
    server.fail("silent", times=100)
    began = time.monotonic()
    subject.provisioner.start()
    for _ in range(100):
        subject.provisioner.poll()
    subject.provisioner.terminate()
    assert time.monotonic() - began < 0.3
    server.faults.clear()
    subject.eventually(ended)


@pytest.mark.fault
def test_a_start_that_nobody_takes_in_time_has_failed_and_leaves_nothing(server, make_config, tmp_path):
    config = make_config(**exalsius(server.url, accept_s=0.3))
    provisioner = ExalsiusProvisioner(config, tmp_path, "texas")
    subject = Subject(
        provisioner=provisioner, finish=print, starts=lambda: server.added, refuse=print, said=str
    )
    try:
        subject.eventually(ended)
        server.fail("lost", method="POST", times=1)
        server.fail("status", times=10_000)
        provisioner.start()
        state = subject.eventually(ended)
        assert state.code == 1
        assert "could not be started in 0.3 s" in state.failure
        assert "500" in state.failure
        server.faults.clear()
        subject.eventually(lambda _: not server.cluster)
    finally:
        server.faults.clear()
        provisioner.close()


def test_a_machine_that_is_not_free_is_told(subject, server):
    server.status[NODES[0]] = "OCCUPIED"
    subject.eventually(ended)
    subject.provisioner.start()
    state = subject.eventually(ended)
    assert "is not in the `available` state" in state.failure


def test_nothing_is_known_before_the_first_answer(server, config, tmp_path):
    server.fail("status", times=10_000)
    provisioner = ExalsiusProvisioner(config, tmp_path, "texas")
    try:
        with pytest.raises(ProvisionError, match="it is not known whether ranks of texas run"):
            provisioner.poll()
        server.faults.clear()
    finally:
        provisioner.close()


def test_a_missing_token_is_told_when_the_provisioner_is_opened(server, config, tmp_path, monkeypatch):
    monkeypatch.delenv(TOKEN_VARIABLE)
    with pytest.raises(ProvisionError, match=f"put it into the environment variable {TOKEN_VARIABLE}"):
        open_provisioner(config, tmp_path, "texas")
    assert not server.asked


def test_the_token_is_shown_to_nobody(server, config, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv(TOKEN_VARIABLE, "another-token")
    provisioner = ExalsiusProvisioner(config, tmp_path, "texas")
    try:
        deadline = time.monotonic() + WAIT_S
        while "put a valid token" not in caplog.text:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        with pytest.raises(ProvisionError) as caught:
            provisioner.poll()
        assert "401" in str(caught.value)
        monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    finally:
        provisioner.close()
    shown = caplog.text + str(caught.value) + repr(vars(provisioner)) + repr(config)
    assert "another-token" not in shown
    assert TOKEN not in shown


def test_a_redirect_takes_the_token_nowhere(server, config, tmp_path):
    with ExalsiusServer() as elsewhere:
        server.fail("status", times=3, answer=Answer(status=307, headers={"Location": elsewhere.url + "/x"}))
        provisioner = ExalsiusProvisioner(config, tmp_path, "texas")
        try:
            deadline = time.monotonic() + WAIT_S
            while server.count("GET") < 5:
                assert time.monotonic() < deadline
                time.sleep(0.01)
        finally:
            provisioner.close()
        assert not elsewhere.asked


def test_a_closed_provisioner_leaves_no_thread(subject):
    subject.eventually(ended)
    subject.provisioner.close()
    assert not [one for one in threading.enumerate() if one.name == "keeper-texas"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"nodes": []}, "exalsius.nodes"),
        ({"nodes": [NODES[0], NODES[0]]}, "exalsius.nodes"),
        ({"nodes": ["one"]}, "a UUID"),
        ({"cluster": "a/b"}, "exalsius.cluster"),
        ({"url": "http://api.exalsius.ai/v1"}, "an https:// address"),
        ({"poll_s": 0.0}, "exalsius.poll_s"),
    ],
)
def test_a_wrong_value_is_told(make_config, change, said):
    given = exalsius("http://127.0.0.1:1")
    with pytest.raises(ConfigError, match=said):
        make_config(**{**given, "exalsius": {**given["exalsius"], **change}})
