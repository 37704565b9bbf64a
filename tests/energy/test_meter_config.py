import math
from pathlib import Path

import pytest

from curtail_dist.config.meter import FootprintConfig, MeterConfig
from curtail_dist.config.reader import build, plain
from curtail_dist.errors import ConfigError

PDU = {
    "kind": "prometheus",
    "covers": "rack 4 at its PDU",
    "url": "http://10.0.0.9:9090",
    "query": "pdu_watts",
    "unit": "watts",
}
REST = {"kind": "constant", "covers": "fans and power supplies", "watts": 300}


def read(**keys):
    return build(MeterConfig, keys, "sites.texas.meter")


def test_without_a_word_nothing_is_measured():
    assert MeterConfig().kind == "model"


@pytest.mark.parametrize(
    "keys",
    [
        {"kind": "model", "covers": "whole machine, measured at the wall"},
        {"kind": "nvml", "gpus": [0, 3]},
        {"kind": "rapl", "root": "/sys/class/powercap", "max_gap_s": 60},
        {**PDU, "timeout_s": 1, "token_env": "PDU_TOKEN"},
        REST,
        {"kind": "sum", "parts": [{"kind": "nvml"}, {"kind": "rapl"}, REST]},
    ],
    ids=lambda keys: keys["kind"],
)
def test_what_is_read_and_written_back_reads_the_same(keys):
    meter = read(**keys)
    assert build(MeterConfig, plain(meter), "") == meter


def test_the_parts_of_a_sum_are_meters():
    meter = read(kind="sum", parts=[{"kind": "nvml", "gpus": [1]}, REST])
    assert [(part.kind, part.gpus, part.watts) for part in meter.parts] == [
        ("nvml", (1,), None),
        ("constant", None, 300.0),
    ]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"kind": "zeus"}, r"meter\.kind is 'zeus'; it must be one of model, nvml, rapl"),
        ({"kind": "nvml", "query": "x"}, r"meter\.query is 'x'; it must be left out with kind nvml"),
        ({"kind": "model", "watts": 300.0}, r"meter\.watts is 300\.0; it must be left out with kind model"),
        ({"kind": "rapl", "gpus": [0]}, r"meter\.gpus .* left out with kind rapl"),
        ({"kind": "nvml", "gpus": []}, r"meter\.gpus"),
        ({"kind": "nvml", "gpus": [1, 1]}, r"meter\.gpus .* distinct"),
        ({"kind": "nvml", "gpus": [-1]}, r"meter\.gpus"),
        ({"kind": "rapl", "root": "powercap"}, r"meter\.root .* absolute"),
        ({"kind": "rapl", "max_gap_s": 0}, r"meter\.max_gap_s"),
        ({**PDU, "covers": ""}, r"meter\.covers is ''; it must be given with kind prometheus"),
        ({**PDU, "unit": "kWh"}, r"meter\.unit is 'kWh'; it must be joules, millijoules, watts"),
        ({**PDU, "url": "10.0.0.9:9090"}, r"meter\.url .* http"),
        ({**PDU, "timeout_s": math.inf}, r"meter\.timeout_s"),
        ({**REST, "watts": None}, r"meter\.watts is None; it must be given with kind constant"),
        ({**REST, "watts": -1.0}, r"meter\.watts"),
        ({"kind": "sum"}, r"meter\.parts"),
        ({"kind": "sum", "parts": [{"kind": "nvml"}, {"kind": "model"}]}, r"meter\.parts .* see constant"),
        ({"kind": "sum", "parts": [REST]}, r"meter\.parts .* at least one that measures"),
    ],
)
def test_keys_that_do_not_belong_together_are_refused(keys, message):
    with pytest.raises(ConfigError, match=message):
        read(**keys)


def test_by_default_a_footprint_is_that_of_the_machines_energy_alone():
    assert FootprintConfig() == FootprintConfig(pue=1.0, embodied_kg=None, lifetime_h=None)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"pue": 0.9}, r"footprint\.pue is 0\.9; it must be finite and at least 1"),
        ({"pue": math.nan}, r"footprint\.pue"),
        ({"embodied_kg": 1000.0}, r"footprint\.lifetime_h is None; it must be given with embodied_kg"),
        ({"lifetime_h": 1000.0}, r"footprint\.lifetime_h"),
        ({"embodied_kg": -1.0, "lifetime_h": 1.0}, r"footprint\.embodied_kg"),
        ({"embodied_kg": 1.0, "lifetime_h": 0.0}, r"footprint\.lifetime_h"),
    ],
)
def test_a_footprint_that_cannot_be_is_refused(keys, message):
    with pytest.raises(ConfigError, match=message):
        FootprintConfig(**keys)


def test_the_powercap_root_is_the_kernel_s_unless_told_otherwise():
    assert read(kind="rapl").root == Path("/sys/class/powercap")
