"""A policy and a signal of one's own, named in the run file by where to import them."""

import json
import sys
from datetime import UTC, datetime

import pytest
import yaml

from curtail_dist.cli.main import main
from curtail_dist.config import PolicyConfig, RunConfig, SignalConfig
from curtail_dist.energy import PolicyMemory, Reading, build_policy, open_signal
from curtail_dist.energy.policy import FRESH_TO_RESUME
from curtail_dist.errors import ConfigError, SignalUnavailable

START = datetime(2026, 3, 21, tzinfo=UTC)
MINE = """
from curtail_dist.energy import Decision, Reading
from curtail_dist.errors import ConfigError


class Below:
    \"""On below a limit, off otherwise, at once.\"""

    def __init__(self, limit=100.0):
        if limit <= 0:
            raise ConfigError(f"limit is {limit}; it must be above 0")
        self.limit = limit

    def decide(self, memory, *, running, reading, now, wanted=None):
        on = reading.value < self.limit
        action = "keep" if on == running else "start" if on else "drain"
        return Decision(action=action, reason=f"{reading.value} of {self.limit}"), type(memory)()


class Steps:
    \"""Hours that are green and dirty in turn.\"""

    source, synthetic, basis = "steps", True, "marginal"

    def __init__(self, *, clock, start, site, green, dirty=300.0):
        self.clock, self.values, self.made = clock, (green, dirty), (start, site)
        self.closed = False

    def at(self, t):
        return self.values[int(t // 3600) % 2]

    def latest(self):
        now = self.clock.now()
        return Reading(value=self.at(now), measured_at=now // 3600 * 3600)

    def forecast(self, horizon):
        return [self.latest()]

    def outlook(self, until):
        points = [(t * 3600.0, self.at(t * 3600)) for t in range(int(until // 3600))]
        return [*points, (until, points[-1][1])]

    def close(self):
        self.closed = True


LIMIT = 3
broken = lambda: 1 / 0
nothing = lambda **given: object()
"""


@pytest.fixture(autouse=True)
def mine(tmp_path, monkeypatch):
    (tmp_path / "my_kinds_of_test.py").write_text(MINE)
    (tmp_path / "my_fault_of_test.py").write_text("import nowhere_at_all")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in ("my_kinds_of_test", "my_fault_of_test"):
        sys.modules.pop(name, None)


@pytest.fixture
def run_file(tmp_path):
    signal = {"kind": "my_kinds_of_test:Steps", "options": {"green": 40.0}}
    tree = {
        "run": {"name": "own", "start": START.isoformat(), "deadline_h": 4.0},
        "data": {"manifest": "none.json"},
        "policy": {"kind": "my_kinds_of_test:Below", "options": {"limit": 60.0}, "poll_s": 600.0},
        "sites": {"a": {"signal": signal, "power": {"train_w": 1000.0, "idle_w": 100.0}}},
    }
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def test_simulate_plays_a_policy_and_a_signal_of_ones_own(run_file, capsys):
    assert main(["simulate", "--config", str(run_file), "--json"]) == 0
    day = json.loads(capsys.readouterr().out)
    assert day["sites"]["a"]["windows"] == [[0, 3600], [7200, 10800]]
    assert day["emissions_kg"] == pytest.approx(2 * 40 / 1000)
    assert (day["policy"], day["synthetic"]) == ("my_kinds_of_test:Below", True)
    assert main(["simulate", "--config", str(run_file)]) == 0
    assert "policy my_kinds_of_test:Below (of one's own)" in capsys.readouterr().out


def test_another_kind_takes_its_place_where_its_options_are_left_out(run_file, capsys):
    command = ["simulate", "--config", str(run_file), "--policy", "always"]
    assert main(command) == 2
    assert (
        "policy.options is {'limit': 60.0}; it must be left out with kind always" in capsys.readouterr().err
    )
    assert main([*command, "--set", "policy.options={}"]) == 0


def test_they_survive_being_written(run_file):
    config = RunConfig.from_yaml(run_file)
    assert RunConfig.from_mapping(yaml.safe_load(yaml.safe_dump(config.to_mapping()))) == config


def test_a_signal_gets_the_clock_the_start_the_site_and_its_options(clock):
    config = SignalConfig(kind="my_kinds_of_test:Steps", options={"green": 1.0, "dirty": 2.0})
    signal = open_signal(config, clock=clock, start=START, site="texas")
    assert (signal.made, signal.latest().value) == ((START, "texas"), 1.0)
    clock.at = 3600.0
    assert signal.latest().value == 2.0


def test_what_holds_whatever_the_rule_holds_for_ones_own():
    rule = build_policy(PolicyConfig(kind="my_kinds_of_test:Below"))

    def decides(reading, memory, *, running):
        return rule.decide(memory, running=running, reading=reading, now=0.0)

    def green(**given):
        return Reading(value=1.0, measured_at=0.0, **given)

    lost, memory = decides(None, PolicyMemory(), running=True)
    assert (lost.action, memory.fresh) == ("drain", 0)
    first, memory = decides(green(), memory, running=False)
    assert (first.action, memory.fresh) == ("keep", 1), "though it returned a memory of its own"
    second, memory = decides(green(), memory, running=False)
    assert (second.action, memory.fresh) == ("start", FRESH_TO_RESUME)
    foreseen, _ = decides(green(from_forecast=True), PolicyMemory(), running=False)
    assert foreseen.action == "keep"


@pytest.mark.parametrize(
    ("kind", "options", "says"),
    [
        ("my_nowhere:X", {}, "my_nowhere cannot be imported (ModuleNotFoundError"),
        (
            "my_fault_of_test:X",
            {},
            "my_fault_of_test cannot be imported (ModuleNotFoundError: No module",
        ),
        ("my_kinds_of_test:Above", {}, "there must be a Above in my_kinds_of_test that can be called"),
        ("my_kinds_of_test:LIMIT", {}, "there must be a LIMIT in my_kinds_of_test that can be called"),
        ("my_kinds_of_test:broken", {}, "which fails (ZeroDivisionError: division by zero)"),
        ("my_kinds_of_test:Below", {"lim": 1}, "which fails (TypeError: "),
        ("my_kinds_of_test:Below", {"limit": 0}, "limit is 0; it must be above 0"),
        ("my_kinds_of_test:nothing", {}, "of type object, has no decide; it must have decide"),
    ],
)
def test_a_policy_that_is_none_is_the_users_error(kind, options, says):
    with pytest.raises(ConfigError) as caught:
        build_policy(PolicyConfig(kind=kind, options=options))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "options", "says"),
    [
        (
            "my_kinds_of_test:nothing",
            {},
            "of type object, has no latest, no forecast, no outlook, no source",
        ),
        ("my_kinds_of_test:Steps", {"green": 1, "site": "b"}, "which gets site anyway; leave it out"),
        ("my_kinds_of_test:Steps", {}, "the signal.kind of texas is 'my_kinds_of_test:Steps', which fails"),
    ],
)
def test_a_signal_that_is_none_is_the_users_error(clock, kind, options, says):
    with pytest.raises(ConfigError) as caught:
        open_signal(SignalConfig(kind=kind, options=options), clock=clock, start=START, site="texas")
    assert says in str(caught.value)


@pytest.mark.parametrize("kind", ["mine", "a:", ":b", "a b:c", "a:b.c", "1:b", "a..b:c"])
def test_what_names_nothing_of_ones_own_is_answered_with_the_kinds_there_are(kind):
    with pytest.raises(ConfigError, match=r"always, or MODULE:NAME of your own$"):
        PolicyConfig(kind=kind)
    with pytest.raises(ConfigError, match=r"http, or MODULE:NAME of your own$"):
        SignalConfig(kind=kind)


def test_other_keys_than_options_are_refused_and_options_with_other_kinds():
    with pytest.raises(ConfigError, match=r"signal.path is '.*'; it must be left out with kind a:b"):
        SignalConfig(kind="a:b", path="x.csv")
    with pytest.raises(ConfigError, match=r"signal.options is .*; it must be left out with kind constant"):
        SignalConfig(kind="constant", value=1.0, options={"green": 1.0})


def test_a_signal_of_ones_own_that_fails_to_say_anything_is_told_by_simulate(run_file, tmp_path, capsys):
    more = (
        MINE
        + "\n\nclass Mute(Steps):\n    def outlook(self, until):\n        raise SignalUnavailable('mute')\n"
    )
    more = f"from {SignalUnavailable.__module__} import SignalUnavailable\n{more}"
    (tmp_path / "my_kinds_of_test.py").write_text(more)
    argument = "sites.a.signal.kind='my_kinds_of_test:Mute'"
    assert main(["simulate", "--config", str(run_file), "--set", argument]) == 2
    assert "the signal of a: mute" in capsys.readouterr().err
