"""The run file: what it takes, what it refuses, and that it survives being written."""

import ast
import dataclasses
import itertools
import math
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from curtail_dist.config import RunConfig
from curtail_dist.config import run as run_module
from curtail_dist.errors import ConfigError, UserError

SITE = {"signal": {"kind": "constant", "value": 10.0}, "power": {"train_w": 300.0, "idle_w": 50.0}}


def tree(**sections):
    return {
        "run": {"name": "day"},
        "sites": {"texas": SITE},
        "data": {"manifest": "data/manifest.json"},
        **sections,
    }


def refused(*args, **sections):
    """What the user is told, checked to be one line that names what to mend."""
    with pytest.raises(ConfigError) as caught:
        RunConfig.from_mapping(tree(**sections), *args)
    assert isinstance(caught.value, UserError)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_minimal_run_file_is_enough():
    config = RunConfig.from_mapping(tree())
    assert (config.run.name, list(config.sites)) == ("day", ["texas"])
    assert config.train.program == "curtail_launch.train"


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"polcy": {}}, "unknown key polcy; did you mean policy?"),
        ({"round": {"step": 3}}, "unknown key round.step; did you mean steps?"),
        (
            {"sites": {"texas": {**SITE, "adress": "x"}}},
            "unknown key sites.texas.adress; did you mean address?",
        ),
        (
            {"sites": {"texas": {**SITE, "signal": {"kind": "constant", "vlaue": 1.0}}}},
            "unknown key sites.texas.signal.vlaue; did you mean value?",
        ),
        (
            {"data": {"manifest": "m", "zzz": 1}},
            "unknown key data.zzz; known keys: ahead_shards, manifest, passes",
        ),
        ({"security": {"token": "x"}}, "unknown key security.token; known keys: secret_file"),
    ],
)
def test_an_unknown_key_is_named_with_what_was_meant(sections, said):
    assert refused(**sections) == said


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"round": {"steps": 1.5}}, "round.steps is 1.5; it must be a whole number"),
        ({"round": {"steps": True}}, "round.steps is True; it must be a whole number"),
        ({"round": {"steps": "10"}}, "round.steps is '10'; it must be a whole number"),
        ({"outer": {"lr": "high"}}, "outer.lr is 'high'; it must be a number"),
        ({"outer": {"lr": False}}, "outer.lr is False; it must be a number"),
        ({"telemetry": {"wandb": "yes"}}, "telemetry.wandb is 'yes'; it must be true or false"),
        ({"run": {"name": 7}}, "run.name is 7; it must be text"),
        ({"data": {"manifest": 7}}, "data.manifest is 7; it must be a path"),
        ({"coordination": {"endpoints": "a:1"}}, "coordination.endpoints is 'a:1'; it must be a list"),
        ({"coordination": {"endpoints": [1]}}, "coordination.endpoints[0] is 1; it must be text"),
        ({"policy": None}, "policy is None; it must be a mapping"),
        ({"run": 3}, "run is 3; it must be a mapping"),
        ({"sites": ["texas"]}, "sites is ['texas']; it must be a mapping"),
        ({"sites": {"texas": None}}, "sites.texas is None; it must be a mapping"),
        ({"train": 3}, "train is 3; it must be a mapping"),
        (
            {"run": {"name": "day", "start": "noon"}},
            "run.start is 'noon'; it must be a time such as 2026-03-21T17:00:00+00:00",
        ),
    ],
)
def test_a_value_of_the_wrong_type_is_named_with_its_full_path(sections, said):
    assert refused(**sections) == said


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, 10**400])
@pytest.mark.parametrize(
    ("section", "key"),
    [
        ("run", "deadline_h"),
        ("clock", "join_s"),
        ("policy", "poll_s"),
        ("policy", "replan_s"),
        ("policy", "g_per_currency"),
        ("outer", "lr"),
    ],
)
def test_a_number_that_is_not_finite_is_named_with_its_full_path(section, key, value):
    given_tree = {**tree().get(section, {}), key: value}
    assert refused(**{section: given_tree}) == f"{section}.{key} is {value}; it must be a finite number"


def test_a_number_that_is_not_finite_is_found_in_every_depth():
    power = {**SITE["power"], "train_w": math.inf}
    said = "sites.texas.power.train_w is inf; it must be a finite number"
    assert refused(sites={"texas": {**SITE, "power": power}}) == said


@pytest.mark.parametrize(
    ("missing", "key"),
    [
        ({"run": None}, "run"),
        ({"data": None}, "data"),
        ({"run": {}}, "run.name"),
        ({"data": {}}, "data.manifest"),
        ({"sites": {"texas": {"power": SITE["power"]}}}, "sites.texas.signal"),
        ({"sites": {"texas": {"signal": SITE["signal"]}}}, "sites.texas.power"),
        (
            {"sites": {"texas": {**SITE, "power": {"idle_w": 1.0}}}},
            "sites.texas.power.train_w",
        ),
    ],
)
def test_what_must_be_given_is_asked_for(missing, key):
    assert refused(**missing) == f"{key} is missing; it must be given"


@pytest.mark.parametrize(
    ("site", "said"),
    [
        ({"power": {"train_w": -300, "idle_w": 50}}, "sites.texas.power.train_w is -300.0; it must be"),
        ({"signal": {"kind": "constant"}}, "sites.texas.signal.value is None; it must be"),
        ({"average": {"kind": "constant"}}, "sites.texas.average.value is None; it must be"),
        ({"provisioner": {"ranks": 0}}, "sites.texas.provisioner.ranks is 0; it must be"),
        (
            {"provisioner": {"kind": "slurm", "slurm": {"poll_s": 0}}},
            "sites.texas.provisioner.slurm.poll_s is 0.0; it must be",
        ),
        (
            {"signal": {"kind": "http", "url": "http://h", "value_at": "/a", "fallback": {"kind": "http"}}},
            "sites.texas.signal.fallback.url is ''; it must be",
        ),
        ({"footprint": {"pue": 0.5}}, "sites.texas.footprint.pue is 0.5; it must be"),
        ({"meter": {"kind": "steam"}}, "sites.texas.meter.kind is 'steam'; it must be"),
        ({"price": {"per": "day"}}, "sites.texas.price.per_kwh is None; it must be"),
        ({"address": ""}, "sites.texas.address is ''; it must be"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_a_sites_own_section_refuses_is_named_with_the_site(site, said):
    assert refused(sites={"ohio": SITE, "texas": {**SITE, **site}}).startswith(said)


def test_what_a_baselines_signal_refuses_is_named_by_the_baseline():
    said = refused(baselines={"nuclear": {"kind": "trace"}})
    assert said == "baselines.nuclear.path is None; it must be given with kind trace"


def test_a_site_that_is_called_like_a_section_does_not_blur_the_path():
    said = refused(sites={"power": {**SITE, "power": {"train_w": -1, "idle_w": 1}}})
    assert said == "sites.power.power.train_w is -1.0; it must be at least 0"


def test_a_run_file_without_sites_is_refused():
    assert refused(sites={}).startswith("sites is {}; it must be a mapping with at least one site")
    without = tree()
    del without["sites"]
    with pytest.raises(ConfigError, match="sites is missing; it must be given"):
        RunConfig.from_mapping(without)


@pytest.mark.parametrize(
    "section",
    [
        {"run": {"name": "a/b"}},
        {"run": {"name": ""}},
        {"run": {"name": "day", "deadline_h": 0.0}},
        {"outer": {"codec": "int2"}},
        {"outer": {"lanes": 0}},
        {"outer": {"fragments": 0}},
        {"outer": {"sync_delay": -1}},
        {"outer": {"mix_alpha": 1.5}},
        {"outer": {"weight": "rows"}},
        {"outer": {"table": "sgd"}},
        {"outer": {"optimizer": "average", "table": "adamw"}},
        {"outer": {"optimizer": "average", "by_sites": {2: [0.7, 0.6]}}},
        {"outer": {"momentum_on_change": "halve"}},
        {"outer": {"by_sites": {"two": [0.7, 0.6]}}},
        {"outer": {"by_sites": {2: [0.7]}}},
        {"clock": {"kind": "sundial"}},
        {"clock": {"kind": "virtual"}},
        {"clock": {"kind": "real", "endpoint": "h:1"}},
        {"clock": {"step_s": -1.0}},
        {"coordination": {"endpoints": []}},
        {"coordination": {"endpoints": ["localhost"]}},
        {"coordination": {"lease_ttl_s": 1.0}},
        {"coordination": {"timeout_s": 0.0}},
        {"policy": {"kind": "sometimes"}},
        {"policy": {"poll_s": 0.0}},
        {"policy": {"leave_delay_s": -1.0}},
        {"round": {"steps": 0}},
        {"round": {"grace_s": 0.0}},
        {"outer": {"optimizer": "adam"}},
        {"outer": {"lr": 0.0}},
        {"outer": {"lr": float("nan")}},
        {"outer": {"momentum": 1.0}},
        {"data": {"manifest": "m", "passes": 0}},
        {"state": {"keep": 1}},
        {"telemetry": {"step_every": 0}},
        {"sites": {"bad name": SITE}},
        {"sites": {"texas": {**SITE, "power": {"train_w": -1.0, "idle_w": 0.0}}}},
        {"sites": {"texas": {**SITE, "signal": {"kind": "constant"}}}},
        {"sites": {"texas": {**SITE, "signal": {"kind": "trace"}}}},
        {"sites": {"texas": {**SITE, "signal": {"kind": "constant", "value": 1.0, "path": "x.csv"}}}},
        {"sites": {"texas": {**SITE, "provisioner": {"kind": "slurm"}}}},
        {"sites": {"texas": {**SITE, "provisioner": {"ranks": 0}}}},
        {"run": {"name": "."}},
        {"run": {"name": ".."}},
        {"run": {"name": "a\0b"}},
        {"run": {"name": "a\nb"}},
        {"run": {"name": "day", "seed": -1}},
        {"run": {"name": "day", "seed": 10**23}},
        {"state": {"transfer_timeout_s": 0}},
        {"state": {"transfer_timeout_s": -5}},
        {"outer": {"by_sites": {2: [-1, 0.5]}}},
        {"outer": {"by_sites": {2: [0.7, 5]}}},
        {"coordination": {"endpoints": ["http://localhost:2379"]}},
        {"coordination": {"endpoints": ["localhost:99999"]}},
        {"coordination": {"endpoints": ["localhost:0"]}},
        {"coordination": {"endpoints": ["::1]:2379"]}},
        {"train": {"program": ""}},
        {"train": {"program": " "}},
        {"sites": {"texas": {**SITE, "signal": {"kind": "constant", "value": -5}}}},
        {"sites": {"texas": {**SITE, "address": "http://foo"}}},
        {"sites": {"texas": {**SITE, "address": "foo:123"}}},
        {"sites": {"texas": {**SITE, "address": "foo/bar"}}},
        {"baselines": {"texas": SITE["signal"]}},
        {"baselines": {"texas+utah": SITE["signal"]}},
    ],
    ids=str,
)
def test_a_value_out_of_range_says_what_is_and_what_must_be(section):
    assert re.fullmatch(r"[\w.]+ is .*; it must be .+", refused(**section))


@pytest.mark.parametrize(
    "section",
    [
        {"coordination": {"endpoints": ["localhost:1", "etcd_1.example-net.org:65535", "10.0.0.1:2379"]}},
        {"coordination": {"endpoints": ["[::1]:2379", "[fe80::1%eth0]:2379"]}},
        {"sites": {"texas": {**SITE, "address": "site-1.example.org"}}},
        {"sites": {"texas": {**SITE, "address": "fd00::7"}}},
        {"sites": {"texas": {**SITE, "address": "auto"}}},
        {"sites": {"texas": {**SITE, "address": "env:POD_IP"}}},
        {"sites": {"texas": {**SITE, "signal": {"kind": "constant", "value": 0}}}},
        {"run": {"name": "Übung 1.2"}},
        {"run": {"name": "day", "seed": 2**63 - 1}},
        {"outer": {"by_sites": {1: [0.7, 0], 2.5: [0.9, 0.6]}}},
    ],
    ids=str,
)
def test_a_value_at_the_edge_of_its_range_is_taken(section):
    RunConfig.from_mapping(tree(**section))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("texas", "named otherwise than every site, since each is a baseline by its own name: rename it"),
        ("a+b", "named without +, which joins the names of a pair of sites: rename it"),
    ],
)
def test_a_further_baseline_takes_no_name_that_a_site_or_a_pair_has(name, said):
    told = refused(baselines={"elsewhere": SITE["signal"], name: SITE["signal"]})
    assert told == f"baselines is '{name}'; it must be {said}"


def test_an_unknown_site_is_answered_with_those_there_are():
    with pytest.raises(ConfigError, match=r"^site 'utah' is not in the run file; it must be one of texas$"):
        RunConfig.from_mapping(tree()).site("utah")


# Files and overrides


@pytest.fixture
def run_file(tmp_path):
    def write(content):
        path = tmp_path / "run.yaml"
        path.write_bytes(content if isinstance(content, bytes) else yaml.safe_dump(content).encode())
        return path

    return write


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"run: [1", "is not YAML"),
        (b"\xff\xfe\x00", "is not YAML"),
        (b"- 1\n- 2\n", "holds a list; it must be a mapping of sections"),
        (b"", "holds a NoneType; it must be a mapping of sections"),
    ],
)
def test_what_is_no_run_file_is_one_clear_line_with_its_name(run_file, content, said):
    path = run_file(content)
    with pytest.raises(ConfigError) as caught:
        RunConfig.from_yaml(path)
    assert str(path) in str(caught.value)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_run_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.yaml cannot be read \(No such file or directory\); give"):
        RunConfig.from_yaml(tmp_path / "none.yaml")


@pytest.mark.parametrize("overrides", [[], ["outer.lr=0.5"]])
def test_what_a_run_file_has_wrong_is_told_with_the_files_name(run_file, overrides):
    path = run_file(tree(outer={"momentum": 1.2}))
    with pytest.raises(ConfigError) as caught:
        RunConfig.from_yaml(path, overrides)
    given = ", with --set outer.lr=0.5" if overrides else ""
    assert str(caught.value) == f"run file {path}{given}: outer.momentum is 1.2; it must be in [0, 1)"


@pytest.mark.parametrize(
    "twice", ["round: {steps: 5}\nouter: {lr: 1}\nround: {steps: 7}", "round: {steps: 5, steps: 5}"]
)
def test_a_key_that_stands_twice_is_refused_as_one_of_the_two_would_be_lost(run_file, twice):
    path = run_file(f"{yaml.safe_dump(tree())}{twice}\n".encode())
    with pytest.raises(
        ConfigError, match=r"the key (round|steps) stands there twice, first in line \d+; leave one"
    ):
        RunConfig.from_yaml(path)


def test_mappings_may_be_merged_and_keys_replaced_in_it(run_file):
    text = yaml.safe_dump(tree())
    merged = "baselines:\n  a: &a {kind: constant, value: 1}\n  b: {<<: *a, value: 2}\n"
    config = RunConfig.from_yaml(run_file(f"{text}{merged}".encode()))
    assert [one.value for one in config.baselines.values()] == [1, 2]


def test_a_site_whose_name_yaml_takes_for_no_text_is_refused(run_file):
    text = yaml.safe_dump(tree()).replace("texas:", "no:")
    with pytest.raises(ConfigError, match=r"a key of sites is False, as YAML reads .*: quote it"):
        RunConfig.from_yaml(run_file(text.encode()))


def test_overrides_replace_and_add_values_and_are_read_as_yaml(run_file):
    path = run_file(tree(round={"steps": 5}))
    config = RunConfig.from_yaml(
        path,
        [
            "round.steps=7",
            "policy.kind=always",
            "coordination.endpoints=['10.0.0.1:2379', '10.0.0.2:2379']",
            "sites.texas.power.train_w=400",
            "train.own.deep=true",
            "run.start=2026-03-21T17:00:00+00:00",
        ],
    )
    assert config.round.steps == 7
    assert config.policy.kind == "always"
    assert config.coordination.endpoints == ("10.0.0.1:2379", "10.0.0.2:2379")
    assert config.site("texas").power.train_w == 400.0
    assert config.train.options == {"own": {"deep": True}}
    assert config.run.start == datetime(2026, 3, 21, 17, tzinfo=UTC)


@pytest.mark.parametrize("said", ["1e-3", "1E-3", "1.e-3", "+1e-3", "0.1e-2", ".1e-2", "0.001"])
def test_a_number_with_an_exponent_is_a_number_in_a_run_file_and_in_an_override(tmp_path, said):
    sections = yaml.safe_dump(tree())
    options = f"train: {{program: own.py, own_lr: {said}}}\nmodel: {{scale: {said}}}\n"
    (tmp_path / "run.yaml").write_text(f"{sections}\nouter: {{lr: {said}}}\n{options}")
    config = RunConfig.from_yaml(tmp_path / "run.yaml", [f"round.grace_s={said}"])
    assert (config.outer.lr, config.round.grace_s) == (0.001, 0.001)
    assert (config.train.options, config.model) == ({"own_lr": 0.001}, {"scale": 0.001})


@pytest.mark.parametrize("said", ["e3", "1e", "1e3x", "0x1e3", "1_0e-3", "1:2e3", "ae-3", "1e3 m"])
def test_what_only_resembles_a_number_is_read_as_ever(run_file, said):
    path = run_file(tree())
    config = RunConfig.from_yaml(path, [f"train.own={said}", f"model.own={said}"])
    assert config.train.options == config.model == {"own": yaml.safe_load(said)}


def test_text_that_looks_like_a_number_stays_text_in_the_effective_configuration(tmp_path):
    site = {**SITE, "provisioner": {"environment": {"LR": "1e-3", "ID": "12e04"}}}
    config = RunConfig.from_mapping(tree(sites={"texas": site}, train={"own": "1E5", "lr": 1e-3}))
    config.to_yaml(tmp_path / "config.yaml")
    assert RunConfig.from_yaml(tmp_path / "config.yaml") == config


def test_of_two_overrides_of_one_key_the_last_counts(run_file):
    assert RunConfig.from_yaml(run_file(tree()), ["round.steps=7", "round.steps=8"]).round.steps == 8


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("round.steps", "it must read KEY.KEY=VALUE"),
        ("=3", "it must read KEY.KEY=VALUE"),
        ("round.steps.more=3", "steps is 5, which holds no keys"),
        ("round.steps=[1", "is not YAML"),
        ("round.stps=3", "did you mean steps?"),
    ],
)
def test_a_wrong_override_is_one_clear_line(run_file, assignment, said):
    with pytest.raises(ConfigError) as caught:
        RunConfig.from_yaml(run_file(tree(round={"steps": 5})), [assignment])
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_relative_paths_start_at_the_run_file(run_file, tmp_path, monkeypatch):
    site = {**SITE, "signal": {"kind": "trace", "path": "traces/texas.csv"}}
    path = run_file(
        tree(
            run={"name": "day", "directory": "out"},
            sites={"texas": site},
            state={"url": "snapshots"},
            baselines={"always": {"kind": "trace", "path": "always.csv"}},
        )
    )
    monkeypatch.chdir("/")
    config = RunConfig.from_yaml(path)
    assert config.run.directory == tmp_path / "out"
    assert config.data.manifest == tmp_path / "data/manifest.json"
    assert config.site("texas").signal.path == tmp_path / "traces/texas.csv"
    assert config.baselines["always"].path == tmp_path / "always.csv"
    assert config.snapshot_url == str(tmp_path / "snapshots")


def test_paths_that_begin_with_a_tilde_are_in_the_home_directory(run_file, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "mine.py").touch()
    config = RunConfig.from_yaml(
        run_file(tree(run={"name": "day", "directory": "~/runs/day"}, train={"program": "~/mine.py"}))
    )
    assert config.run.directory == tmp_path / "home" / "runs" / "day"
    assert config.train.program == str(tmp_path / "home" / "mine.py")


def test_absolute_paths_stay(run_file):
    config = RunConfig.from_yaml(run_file(tree(data={"manifest": "/data/manifest.json"})))
    assert config.data.manifest == Path("/data/manifest.json")


def test_the_run_directory_and_the_snapshots_have_one_place_by_default(run_file, tmp_path):
    config = RunConfig.from_yaml(run_file(tree()))
    assert config.run.directory == tmp_path / "runs" / "day"
    assert config.snapshot_url == str(tmp_path / "runs" / "day" / "snapshots")


def test_a_path_like_key_of_the_program_is_left_to_the_program(run_file):
    config = RunConfig.from_yaml(run_file(tree(train={"program": "mine.py", "tokenizer": "t.json"})))
    assert config.train.program == "mine.py"
    assert config.train.options == {"tokenizer": "t.json"}


def test_a_script_beside_the_run_file_is_found_from_anywhere(run_file, tmp_path):
    (tmp_path / "mine.py").write_text("")
    file = run_file(tree(train={"program": "mine.py"}))
    assert RunConfig.from_yaml(file).train.program == str(tmp_path / "mine.py")
    for other in ("elsewhere.py", "package.train"):
        config = RunConfig.from_yaml(file, [f"train.program={other}"])
        assert config.train.program == other


# Round trips

positive = st.floats(0.001, 1e6)
names = st.from_regex(r"[a-z][a-z0-9_-]{0,8}", fullmatch=True)
sites = st.fixed_dictionaries(
    {
        "signal": st.one_of(
            st.fixed_dictionaries({"kind": st.just("constant"), "value": st.floats(0, 900)}),
            st.fixed_dictionaries({"kind": st.sampled_from(["trace", "vessim"]), "path": names}),
        ),
        "power": st.fixed_dictionaries(
            {"train_w": positive, "idle_w": positive}, optional={"join_w": positive}
        ),
    },
    optional={
        "address": st.just("10.0.0.1"),
        "provisioner": st.fixed_dictionaries({}, optional={"environment": st.dictionaries(names, st.text())}),
    },
)
trees = st.fixed_dictionaries(
    {
        "run": st.fixed_dictionaries(
            {"name": names},
            optional={
                "seed": st.integers(0, 9),
                "start": st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)).map(  # noqa: DTZ001 - hypothesis takes naive bounds
                    lambda time: time.isoformat()
                ),
            },
        ),
        "sites": st.dictionaries(names, sites, min_size=1, max_size=3),
        "data": st.fixed_dictionaries({"manifest": names}, optional={"passes": st.integers(1, 5)}),
    },
    optional={
        "clock": st.just({"kind": "virtual", "endpoint": "127.0.0.1:9", "step_s": 3.0}),
        "policy": st.fixed_dictionaries({}, optional={"threshold_g_per_kwh": positive, "poll_s": positive}),
        "round": st.fixed_dictionaries({}, optional={"steps": st.integers(1, 999), "grace_s": positive}),
        "outer": st.fixed_dictionaries({}, optional={"lr": positive, "momentum": st.floats(0, 0.99)}),
        "state": st.fixed_dictionaries({}, optional={"url": names, "durable_before_commit": st.booleans()}),
        "baselines": st.dictionaries(
            names.map("beside {}".format), st.just({"kind": "trace", "path": "x.csv"}), max_size=2
        ),
        "model": st.dictionaries(names, st.one_of(st.integers(), st.text(), st.booleans()), max_size=3),
        "train": st.dictionaries(
            names.filter(lambda name: name != "program"), st.lists(st.integers(), max_size=2), max_size=3
        ),
    },
)


@given(trees)
def test_a_configuration_that_was_written_is_read_back_equal(given_tree):
    config = RunConfig.from_mapping(given_tree)
    assert RunConfig.from_mapping(config.to_mapping()) == config
    assert RunConfig.from_mapping(config.to_mapping(), base=Path("/elsewhere")) == config
    assert RunConfig.from_mapping(yaml.safe_load(yaml.safe_dump(config.to_mapping()))) == config


def test_the_effective_configuration_on_disk_is_read_back_equal(run_file, tmp_path):
    config = RunConfig.from_yaml(run_file(tree(train={"a": 1}, run={"name": "day", "start": "2026-03-21"})))
    config.to_yaml(tmp_path / "deep" / "config.yaml")
    assert RunConfig.from_yaml(tmp_path / "deep" / "config.yaml") == config


def test_a_section_that_is_left_out_is_one_that_is_empty():
    """A default stands in one place: the section's own."""
    optional = [
        field.name
        for field in dataclasses.fields(RunConfig)
        if field.default_factory is not dataclasses.MISSING
    ]
    assert RunConfig.from_mapping(tree(**{name: {} for name in optional})) == RunConfig.from_mapping(tree())


def test_every_key_of_every_section_is_explained():
    files = [Path(run_module.__file__).with_name(name) for name in ("sections.py", "sites.py")]
    trees = [ast.parse(file.read_text(encoding="utf-8")) for file in files]
    bodies = [node.body for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)]
    keys = [
        (node.target.id, following)
        for body in bodies
        for node, following in itertools.pairwise([*body, None])
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    ]
    bare = [
        name
        for name, following in keys
        if not (isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant))
    ]
    assert len(keys) > 40
    assert bare == []


def test_a_configuration_cannot_be_changed():
    config = RunConfig.from_mapping(tree())
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.round.steps = 3  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        (
            {"round": {"steps": 10}, "outer": {"fragments": 4}},
            "round.steps is 10; it must be a multiple of outer",
        ),
        (
            {"round": {"steps": 12}, "outer": {"fragments": 4, "sync_delay": 3}},
            "outer.sync_delay is 3; it must be less than the 3 inner steps",
        ),
    ],
)
def test_fragments_and_delays_that_do_not_fit_rounds_or_sites_are_refused(sections, said):
    with pytest.raises(ConfigError, match=re.escape(said)):
        RunConfig.from_mapping(tree(**sections))


def test_a_table_of_ones_own_comes_back_as_it_was_written():
    given = RunConfig.from_mapping(tree(outer={"by_sites": {1: [0.7, 0.6], 2.5: [1, 0.8]}}))
    assert given.outer.by_sites == {"1": (0.7, 0.6), "2.5": (1.0, 0.8)}
    assert RunConfig.from_mapping(given.to_mapping()) == given


@pytest.mark.parametrize("place", ["signal", "fallback"])
def test_a_feed_that_is_asked_more_rarely_than_it_is_believed_is_refused(place):
    feed = {"kind": "carbonintensity", "every_s": 900.0}
    signal = feed if place == "signal" else {"kind": "carbonintensity", "fallback": feed}
    key = "sites.texas.signal.every_s" if place == "signal" else "sites.texas.signal.fallback.every_s"
    said = refused(sites={"texas": {**SITE, "signal": signal}})
    assert said == f"{key} is 900.0; it must be less than policy.max_age_s, 900"
    RunConfig.from_mapping(tree(sites={"texas": {**SITE, "signal": signal}}, policy={"max_age_s": 901.0}))
