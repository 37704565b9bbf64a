"""What the demo is made of: its arguments, its run file, its kill, and the rank program's check of it."""

import io
import json
import os
import signal
import socket
import subprocess
import sys
from datetime import UTC, datetime

import pytest
import yaml
from curtail_launch import train
from curtail_launch.demo.day import DAYS, write_day
from curtail_launch.demo.director import Executioner, Kill
from curtail_launch.demo.ending import ending_lines
from curtail_launch.demo.script import Wishes, baseline_tree, run_tree, write_run_file
from curtail_launch.demo.stage import kill, set_stage
from curtail_launch.demo.verb import _make_room
from curtail_launch.settings import read_recipe
from rich.console import Console

from curtail_dist.cli.main import main
from curtail_dist.clock import SystemClock
from curtail_dist.config import RunConfig
from curtail_dist.data.ledger import Ledger, plan
from curtail_dist.data.manifest import read_manifest
from curtail_dist.data.order import RowOrder
from curtail_dist.energy.scene import Assumptions
from curtail_dist.energy.simulation import simulate
from curtail_dist.errors import ConfigError
from curtail_dist.telemetry.record import EventLog, Record, read_events

SITES = ["california", "texas"]


# What the user may ask for


def test_a_kill_is_a_site_and_a_round():
    assert Kill.parse("texas@12", SITES) == Kill(site="texas", round=12)


@pytest.mark.parametrize(
    "text", ["texas", "texas@", "@3", "texas@0", "texas@-1", "texas@x", "texas@²", "utah@3"]
)
def test_another_kill_is_answered_with_what_it_must_be(text):
    with pytest.raises(ConfigError) as caught:
        Kill.parse(text, SITES)
    said = f"--kill is {text!r}; it must be SITE@N with N from 1 and a site of california, texas"
    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--day", "night"], "--day is 'night'; it must be one of published, short"),
        (["--sites", "0"], "--sites is 0; it must be 1 to 3"),
        (["--sites", "4"], "--sites is 4; it must be 1 to 3"),
        (["--minutes", "0.1"], "--minutes is 0.1; it must be 0.2 to 60"),
        (["--minutes", "61"], "--minutes is 61; it must be 0.2 to 60"),
        (["--minutes", "nan"], "--minutes is nan; it must be 0.2 to 60"),
        (["--energy", "coal"], "--energy is 'coal'; it must be trace or vessim"),
        (["--kill", "utah@1"], "--kill is 'utah@1'; it must be SITE@N"),
        (["--sites", "1", "--kill", "texas@1"], "a site of california"),
    ],
)
def test_a_wish_that_cannot_be_met_is_one_line_and_nothing_is_begun(tmp_path, capsys, arguments, said):
    assert main(["demo", "--out", str(tmp_path / "out"), *arguments]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_directory_that_holds_something_else_is_left_alone(tmp_path, capsys):
    (tmp_path / "thesis.tex").write_text("mine")
    assert main(["demo", "--out", str(tmp_path)]) == 2
    assert "which holds something else than a demo; give a new directory" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_directory_that_cannot_be_written_is_one_line(tmp_path, capsys):
    (tmp_path / "out").touch()
    assert main(["demo", "--out", str(tmp_path / "out")]) == 2
    err = capsys.readouterr().err
    assert f"--out is '{tmp_path / 'out'}' (File exists); it must be a directory" in err
    assert err.count("\n") == 1


def test_an_earlier_run_is_kept_beside_the_new_one(tmp_path):
    out, said = tmp_path / "demo", io.StringIO()
    for number in (1, 2):
        out.mkdir()
        (out / "run.yaml").write_text(str(number))
        _make_room(out, Console(file=said, width=200))
        assert not out.exists()
    assert [(tmp_path / f"demo.{number}" / "run.yaml").read_text() for number in (1, 2)] == ["1", "2"]
    assert f"The earlier run is kept in {tmp_path / 'demo.2'}." in said.getvalue()


@pytest.mark.parametrize("there", ["nothing", "empty"])
def test_a_new_or_empty_directory_is_taken_as_it_is(tmp_path, there):
    out = tmp_path / "demo"
    if there == "empty":
        out.mkdir()
    _make_room(out, Console(file=io.StringIO()))
    assert [path.name for path in tmp_path.iterdir()] == (["demo"] if there == "empty" else [])


# The run file


@pytest.fixture
def tree(material, tmp_path):
    def make(seed=1, **wishes):
        wishes = Wishes(out=tmp_path / "out", minutes=0.2, seed=seed, **{"day": "short", **wishes})
        return run_tree(wishes, material, etcd="127.0.0.1:1", clock="127.0.0.1:2")

    return make


def test_the_same_wishes_give_the_same_run_file_and_traces(tree, tmp_path):
    first, traces = tree(), {path.name: path.read_bytes() for path in (tmp_path / "out/traces").iterdir()}
    assert tree() == first
    assert {path.name: path.read_bytes() for path in (tmp_path / "out/traces").iterdir()} == traces
    other = tree(seed=2)
    assert other["run"]["seed"] == 2
    assert {path.name: path.read_bytes() for path in (tmp_path / "out/traces").iterdir()} != traces


def test_the_run_file_is_one_that_the_library_and_the_rank_program_take(tree):
    config = RunConfig.from_mapping(tree())
    assert list(config.sites) == ["california", "texas", "south-australia"]
    assert config.state.durable_before_commit
    assert config.clock.kind == "virtual"
    recipe = read_recipe(config)
    assert recipe.tokenizer.is_file()
    assert recipe.options.total_tokens > 100_000


def test_as_many_sites_take_part_as_are_wished_for(tree):
    assert list(tree(sites=2)["sites"]) == ["california", "texas"]


@pytest.mark.parametrize("day", DAYS)
@pytest.mark.parametrize("sites", [1, 2, 3])
def test_the_days_work_is_done_in_the_windows_of_as_many_sites_as_take_part(tree, material, day, sites):
    config = RunConfig.from_mapping(tree(day=day, sites=sites))
    recipe = read_recipe(config)
    steps = material.tokens / (recipe.options.device_batch_size * recipe.model.sequence_length)
    played = simulate(config, Assumptions(work_s=steps * config.clock.step_s)).played
    assert played.finished_at is not None


def test_the_days_work_fills_the_day_whatever_the_corpus(tree, material):
    config = RunConfig.from_mapping(tree())
    recipe = read_recipe(config)
    steps = material.tokens / (recipe.options.device_batch_size * recipe.model.sequence_length)
    hours = steps * config.clock.step_s / 3600
    assert hours == pytest.approx(config.run.deadline_h, rel=0.1)
    assert config.round.steps * config.clock.step_s == pytest.approx(900, rel=0.3)


def test_the_baseline_learns_the_same_at_one_site_that_is_always_on(tree, material, tmp_path):
    wishes = Wishes(out=tmp_path / "out", day="short", minutes=0.2)
    base = baseline_tree(wishes, material, etcd="127.0.0.1:1", clock="127.0.0.1:2")
    mine = tree()
    assert all(base[key] == mine[key] for key in ("data", "model", "outer", "train"))
    assert base["run"]["name"] != mine["run"]["name"], "they may share a store"
    config = RunConfig.from_mapping(base)
    assert list(config.sites) == ["always-on"]
    assert config.policy.kind == "always"


def test_the_same_seed_gives_the_same_rows_to_the_same_members(tree):
    """Also the same for a site whose run file was written elsewhere."""
    plans = []
    for seed in (1, 1, 2):
        config = RunConfig.from_mapping(tree(seed))
        shards = [shard.rows for shard in read_manifest(config.data.manifest).shards]
        order = RowOrder(shards, passes=config.data.passes, seed=config.run.seed)
        ledger = Ledger(total=order.total, done=((0, order.rows // 3),))
        assigned = plan(ledger, SITES, speeds={"texas": 2.0}, steps=config.round.steps, rows_per_step=4.0)
        plans.append(
            {
                site: [order.row(position) for span in mine.rows for position in range(*span)]
                for site, mine in assigned.items()
            }
        )
    assert plans[0] == plans[1]
    assert plans[0] != plans[2]
    assert not set(plans[0]["california"]) & set(plans[0]["texas"])


@pytest.mark.parametrize("name", DAYS)
def test_traces_of_a_day_go_by_the_names_of_its_sites(tmp_path, name):
    assert list(write_day(tmp_path, name)) == ["california", "texas", "south-australia"]


# The rank program's check


def test_the_rank_program_accepts_the_demos_run_file(tree, tmp_path, capsys):
    path = write_run_file(tree(), tmp_path / "file")
    assert train.main(["--check", "--config", str(path)]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("section", "key", "value", "said"),
    [
        ("model", "n_layers", 3, "model.n_layers is no key; it must be one of "),
        ("model", "n_layer", "two", "model.n_layer is 'two'; it must be a whole number"),
        ("train", "batch_size", 3, "unknown key train.batch_size"),
        ("train", "device_batch_size", 0, "train.device_batch_size is 0; it must be at least 1"),
        ("train", "device", "tpu", "train.device is 'tpu'; it must be auto, cpu or cuda"),
        ("train", "optimizer", {"speed": 1.0}, "speed"),
        ("train", "schedule", {"warmdown_share": 7.0}, "warmdown_share is 7.0; it must be"),
        ("data", "manifest", "/none/manifest.json", "/none"),
    ],
)
def test_the_rank_program_refuses_what_it_does_not_know(tree, tmp_path, capsys, section, key, value, said):
    wrong = tree()
    wrong[section][key] = value
    path = write_run_file(wrong, tmp_path / "file")
    assert train.main(["--check", "--config", str(path)]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1


def test_the_rank_program_needs_a_site(tree, tmp_path, capsys):
    path = write_run_file(tree(), tmp_path / "file")
    assert train.main(["--config", str(path)]) == 2
    assert "--site is missing" in capsys.readouterr().err


def test_a_tokenizer_of_another_size_than_the_models_is_refused(tree, tmp_path, capsys):
    wrong = tree()
    wrong["model"]["vocab_size"] = 2048
    path = write_run_file(wrong, tmp_path / "file")
    assert train.main(["--site", "texas", "--config", str(path)]) == 2
    assert "model.vocab_size is 2048; the tokenizer has 1024" in capsys.readouterr().err


# The kill


@pytest.fixture
def victim():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def record(event, *, site="texas", pid=1):
    return Record(
        event=event,
        site=site,
        epoch=1,
        round=1,
        t=0.0,
        wall=datetime.now(UTC),
        seq=0,
        process=f"rank-{pid}",
    )


@pytest.mark.fault
def test_the_wanted_rounds_first_step_is_the_moment_of_the_kill(victim, tmp_path):
    with EventLog(tmp_path, site="demo", process="director", clock=SystemClock()) as events:
        executioner = Executioner(Kill(site="texas", round=2), events)
        own = [
            record(event, pid=victim.pid) for event in ("round_started", "step", "commit", "round_started")
        ]
        other = [record(event, site="california", pid=os.getpid()) for event in ("round_started", "step") * 3]
        executioner.look([*own, *other])
        assert not executioner.fired
        assert victim.poll() is None
        executioner.look([record("step", pid=victim.pid), record("step", pid=victim.pid)])
        assert victim.wait(10) == -signal.SIGKILL
        executioner.look([record("round_started"), record("step", pid=os.getpid())])
    faults = [(one["kind"], one["target"]) for one in read_events(tmp_path) if one.event == "fault"]
    assert faults == [("SIGKILL", "texas")]


def test_killing_who_is_gone_already_is_no_error(victim):
    victim.kill()
    victim.wait(10)
    kill(victim.pid)


# The stage


@pytest.mark.integration
def test_sigterm_on_the_stage_is_like_ctrl_c_and_ends_what_it_holds():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), set_stage() as stage:
        etcd, clock = stage.etcd, stage.clock.endpoint
        os.kill(os.getpid(), signal.SIGTERM)
    for endpoint in (etcd, clock):
        host, _, port = endpoint.partition(":")
        with socket.socket() as probe:
            assert probe.connect_ex((host, int(port))) != 0, f"{endpoint} still answers"
    assert signal.getsignal(signal.SIGTERM) is before


# The ending


def test_what_is_not_known_is_said_to_be_unknown(tmp_path):
    energy = {"train": 0.0, "idle": 0.0, "join": 0.0, "sync": 0.0}
    site = {
        "tokens": 0,
        "inner_steps": 0,
        "lost_steps": 0,
        "joins": 0,
        "drains": 0,
        "deaths": 0,
        "energy_kwh": energy,
        "emissions_kg": 0.0,
        "share_in_window": 0.0,
    }
    summary = {
        "run": "demo",
        "finished": False,
        "wall_s": 1.0,
        "virtual_h": 0.0,
        "tokens": 0,
        "commits": 0,
        "epochs": 0,
        "emissions_kg": 0.0,
        "baselines": {},
        "rows": {"total": 9, "trained": 0, "lost": 9, "duplicated": 0, "discarded": 0},
        "loss": {"first": None, "last": None, "val_bpb": None, "baseline_val_bpb": None},
        "sync": {"bytes_sent": 0, "stall_s": 0.0, "stall_share": 0.0},
        "sites": {"texas": site},
        "metered_share": 0.0,
        "oracle_kg": None,
        "oracle_fraction": None,
        "oracle_schedule_kg": None,
        "oracle_multiple": None,
    }
    text = "\n".join(ending_lines(json.loads(json.dumps(summary)), tmp_path))
    assert "NOT finished" in text
    assert "unknown -> unknown" in text
    assert "no baseline fits the traces" in text
    assert "by a power model" in text
    assert "None" not in text
    known = {"oracle_schedule_kg": 0.9, "oracle_multiple": 1.34, "oracle_fraction": 0.953}
    text = "\n".join(ending_lines({**summary, **known, "metered_share": 0.75}, tmp_path))
    assert "0.900 kg for the same work; the run emits 1.34 times that; 95.3% of the possible saving" in text
    assert "75% of its energy measured" in text
    below = {**known, "oracle_multiple": 0.98}
    text = "\n".join(ending_lines({**summary, **below}, tmp_path))
    assert "the run emits 0.98 times that, which starts and stops on slots of 300 s; 95.3% of" in text
    always_on = {"baselines": {"texas": {"emissions_kg": 0.1392}, "california": {"emissions_kg": 12.34}}}
    text = "\n".join(ending_lines({**summary, **always_on}, tmp_path))
    assert "always on: texas 0.139 kg, california 12.3 kg" in text
    small = {"possible_saving_kg": 0.004, "resolvable_saving_kg": 0.1, "oracle_multiple": None}
    text = "\n".join(ending_lines({**summary, **known, **small}, tmp_path))
    assert "0.900 kg for the same work; the possible saving, 0.004 kg, is too small" in text


def test_a_run_file_is_written_as_it_was_meant(tmp_path):
    given = {"run": {"name": "x"}, "a": [1, 2]}
    assert yaml.safe_load(write_run_file(given, tmp_path / "new").read_text()) == given
