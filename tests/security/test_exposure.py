"""When a run says at its start that strangers can get at it."""

import base64

import pytest

from curtail_dist.config import RunConfig
from curtail_dist.errors import ConfigError
from curtail_dist.security import PlainWire, exposure, open_wire
from curtail_dist.security.secret import ENVIRONMENT

SITE = {"signal": {"kind": "constant", "value": 1}, "power": {"train_w": 1, "idle_w": 1}}


def config(*addresses, **sections):
    sites = {f"s{number}": {**SITE, "address": address} for number, address in enumerate(addresses)}
    return RunConfig.from_mapping(
        {"run": {"name": "r"}, "sites": sites, "data": {"manifest": "m"}, **sections}
    )


@pytest.mark.parametrize("address", ["127.0.0.1", "127.3.2.1", "::1", "localhost"])
def test_nothing_is_said_where_all_sites_are_on_this_machine(address):
    assert exposure(config(address, address), PlainWire()) is None


@pytest.mark.parametrize("address", ["10.0.0.3", "0.0.0.0", "texas.example.org", "fe80::1"])
def test_one_site_elsewhere_is_enough_to_be_told_what_that_means_and_what_to_do(address):
    said = exposure(config("127.0.0.1", address), PlainWire())
    assert said is not None
    for word in (f"s1 at {address}", "curtail secret", "security.secret_file", ENVIRONMENT, "WireGuard"):
        assert word in said
    assert "s0" not in said


def test_nothing_is_said_where_there_is_a_secret(monkeypatch):
    monkeypatch.setenv(ENVIRONMENT, base64.b64encode(b"k" * 32).decode())
    run = config("10.0.0.3")
    wire = open_wire(run)
    assert wire.secure
    assert exposure(run, wire) is None


def test_a_secret_that_is_none_ends_the_start(monkeypatch):
    monkeypatch.setenv(ENVIRONMENT, "too short")
    with pytest.raises(ConfigError):
        open_wire(config("127.0.0.1"))


def test_without_a_secret_the_wire_is_plain(monkeypatch):
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    assert not open_wire(config("127.0.0.1")).secure


@pytest.mark.parametrize(("endpoint", "here"), [("127.0.0.1:2379", True), ("10.0.0.1:2379", False)])
def test_an_address_that_is_found_is_here_where_etcd_is(endpoint, here):
    run = config("auto", coordination={"endpoints": [endpoint]})
    assert (exposure(run, PlainWire()) is None) is here
