"""The address at which a site listens: as it is said, of the way to etcd, or out of the environment."""

import socket

import pytest

from curtail_dist.config import RunConfig
from curtail_dist.errors import ConfigError
from curtail_dist.runtime.address import check_listens, own_address, with_address

ETCD = ["127.0.0.1:2379"]


def config(**site):
    signal = {"kind": "constant", "value": 1.0}
    power = {"train_w": 300.0, "idle_w": 50.0}
    return RunConfig.from_mapping(
        {
            "run": {"name": "t", "directory": "/tmp/t"},
            "data": {"manifest": "none.json"},
            "coordination": {"endpoints": ETCD},
            "sites": {
                "texas": {"signal": signal, "power": power, **site},
                "spain": {"signal": signal, "power": power, "address": "10.0.0.7"},
            },
        }
    )


def public_address():
    """This machine's address on the way to elsewhere; None where it has no such way."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return None
        return probe.getsockname()[0]


@pytest.mark.parametrize("said", ["127.0.0.1", "10.1.2.3", "site.example", "::1", "automatic"])
def test_an_address_or_a_name_is_taken_as_it_is(said):
    assert own_address(said, ETCD, {}) == said


def test_a_site_is_reached_at_the_loopback_unless_its_run_file_says_otherwise():
    assert with_address(config(), "texas", {}).site("texas").address == "127.0.0.1"


@pytest.mark.parametrize("endpoint", ["127.0.0.1:2379", "localhost:1"])
def test_auto_beside_an_etcd_on_the_same_machine_is_the_loopback(endpoint):
    assert own_address("auto", [endpoint, "192.0.2.1:2379"], {}) in ("127.0.0.1", "::1")


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine speaks no IPv6")
def test_auto_takes_an_endpoint_of_ipv6():
    assert own_address("auto", ["[::1]:2379"], {}) == "::1"


def test_auto_is_the_address_of_the_interface_on_the_way_to_the_first_endpoint():
    public = public_address()
    if public is None:
        pytest.skip("this machine has no way to anywhere")
    assert own_address("auto", ["192.0.2.1:2379", "127.0.0.1:2379"], {}) == public


def test_auto_sends_nothing():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as etcd:
        etcd.bind(("127.0.0.1", 0))
        etcd.setblocking(False)
        assert own_address("auto", [f"127.0.0.1:{etcd.getsockname()[1]}"], {}) == "127.0.0.1"
        with pytest.raises(BlockingIOError):
            etcd.recv(1)


def test_auto_says_what_to_do_where_etcds_name_is_unknown():
    with pytest.raises(ConfigError) as caught:
        own_address("auto", ["no-such-host.invalid:2379"], {})
    said = str(caught.value)
    assert "no way from here to etcd's first endpoint, no-such-host.invalid:2379" in said
    assert said.endswith("mend coordination.endpoints, or give the address itself")


def test_a_variable_holds_the_address():
    found = with_address(config(address="env:POD_IP"), "texas", {"POD_IP": " 10.2.3.4\n"})
    assert found.site("texas").address == "10.2.3.4"
    assert found.site("spain").address == "10.0.0.7"


@pytest.mark.parametrize(("variables", "state"), [({}, "not set"), ({"POD_IP": " "}, "empty")])
def test_a_variable_that_is_missing_or_empty_is_an_error_that_names_site_and_variable(variables, state):
    with pytest.raises(ConfigError) as caught:
        with_address(config(address="env:POD_IP"), "texas", variables)
    said = str(caught.value)
    assert said.startswith(f"sites.texas.address is env:POD_IP; POD_IP is {state} in the environment")
    assert "set it where the site's ranks are started" in said


@pytest.mark.parametrize("said", ["", "env:", "env:POD IP", "env:$POD_IP"])
def test_a_run_file_without_an_address_or_a_variables_name_is_refused(said):
    with pytest.raises(ConfigError, match="address"):
        config(address=said)


@pytest.mark.parametrize("address", ["127.0.0.1", "localhost"])
def test_a_machine_listens_at_its_own_addresses(address):
    check_listens(config(address=address), "texas")


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1", "no-such-host.invalid"])
def test_an_address_of_another_machine_is_named_with_what_to_do(address):
    with pytest.raises(
        ConfigError,
        match=rf"sites\.texas\.address is {address}, where this machine cannot listen .* it must be",
    ):
        check_listens(config(address=address), "texas")
