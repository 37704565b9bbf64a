"""What `curtail site` refuses before it contacts anything."""

from dataclasses import replace

import pytest
import yaml

from curtail_dist.cli.main import main
from curtail_dist.cli.site import chosen_sites
from curtail_dist.config import RunConfig

TRACE = "time,g_per_kwh\n2026-03-21T17:00:00Z,120\n2026-03-21T18:00:00Z,61.5\n2026-03-21T19:00:00Z,130\n"


@pytest.fixture
def run_file(tmp_path):
    (tmp_path / "grid.csv").write_text(TRACE)
    site = {"signal": {"kind": "trace", "path": "grid.csv"}, "power": {"train_w": 300, "idle_w": 50}}
    tree = {
        "run": {"name": "r", "start": "2026-03-21T17:00:00Z", "deadline_h": 2, "directory": "run"},
        "sites": {"a": site},
        "data": {"manifest": "manifest.json"},
        "coordination": {"endpoints": ["127.0.0.1:9"], "timeout_s": 1},
    }
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def site(run_file, *further):
    return main(["site", "--unchecked", "--config", str(run_file), "--site", "a", *further])


def test_a_threshold_that_never_opens_is_the_users_error(run_file, capsys):
    assert site(run_file, "--set", "policy.threshold_g_per_kwh=50") == 2
    said = capsys.readouterr().err
    assert "policy.threshold_g_per_kwh is 50" in said
    assert "61.5" in said
    assert said.count("\n") == 1


def test_a_threshold_that_opens_gets_past_that_check(run_file, capsys):
    assert site(run_file, "--set", "policy.threshold_g_per_kwh=100") == 1
    assert "etcd does not answer at 127.0.0.1:9" in capsys.readouterr().err


@pytest.mark.parametrize("key", ["policy.kind", "sites.a.signal.kind"])
def test_a_kind_of_ones_own_that_is_not_there_is_told_before_anything_is_contacted(run_file, capsys, key):
    further = ["--set", "sites.a.signal.path=null"] if "signal" in key else []
    assert site(run_file, "--set", f"{key}=my_nowhere:X", *further) == 2
    assert f"{key} is 'my_nowhere:X', and my_nowhere cannot be imported" in capsys.readouterr().err


def test_a_secret_that_is_not_there_is_told_before_ranks_end_over_it(run_file, capsys):
    assert site(run_file, "--set", "security.secret_file=none.secret") == 2
    said = capsys.readouterr().err
    assert "none.secret cannot be read (No such file or directory); make one with `curtail secret" in said


def test_a_secret_is_not_looked_for_here_where_the_ranks_start_elsewhere(run_file, capsys):
    elsewhere = "sites.a.provisioner={kind: slurm, slurm: {}}"
    assert site(run_file, "--set", "security.secret_file=none.secret", "--set", elsewhere) == 1
    assert "etcd does not answer at 127.0.0.1:9" in capsys.readouterr().err


def test_a_program_that_is_not_there_is_told_by_its_key(run_file, capsys):
    told = ["site", "--config", str(run_file), "--site", "a", "--set", "train.program=none.py"]
    assert main(told) == 2
    assert "train.program is 'none.py', and there is no such file beside the run" in capsys.readouterr().err


def test_an_unknown_site_is_named(run_file, capsys):
    assert main(["site", "--unchecked", "--config", str(run_file), "--site", "b"]) == 2
    assert "site 'b' is not in the run file" in capsys.readouterr().err


def test_an_unknown_key_is_named_with_the_one_that_was_meant(run_file, capsys):
    assert site(run_file, "--set", "policy.treshold_g_per_kwh=50") == 2
    assert "did you mean threshold_g_per_kwh?" in capsys.readouterr().err


def test_all_stands_for_every_site_and_a_site_that_is_given_twice_is_one(run_file):
    config = RunConfig.from_yaml(run_file)
    more = replace(config, sites={"a": config.sites["a"], "b": config.sites["a"]})
    assert chosen_sites(more, ["all"]) == ["a", "b"]
    assert chosen_sites(more, ["b", "a", "b"]) == ["b", "a"]
    own = replace(config, sites={"all": config.sites["a"], "b": config.sites["a"]})
    assert chosen_sites(own, ["all"]) == ["all"]


def test_one_unknown_site_among_several_stops_them_all(run_file, capsys):
    assert site(run_file, "--site", "b") == 2
    assert "site 'b' is not in the run file" in capsys.readouterr().err


def beside(run_file, name):
    """The same run file under a name, with the run written where it stands."""
    path = run_file.with_name(name)
    path.write_text("# mine\n" + run_file.read_text().replace("directory: run", "directory: ."))
    return path


def test_a_run_file_that_stands_where_the_effective_configuration_goes_is_kept(run_file, capsys):
    path = beside(run_file, "config.yaml")
    before = path.read_bytes()
    assert site(path) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"the run file is '{path}'" in said
    assert path.read_bytes() == before


def test_a_run_file_that_is_linked_to_from_there_is_kept(run_file, capsys):
    path = beside(run_file, "run.yaml")
    link = path.with_name("config.yaml")
    link.symlink_to("run.yaml")
    assert site(path) == 2
    assert "must be another directory" in capsys.readouterr().err
    assert link.is_symlink()


def test_a_run_file_of_another_name_may_stand_in_the_run_directory(run_file, capsys):
    path = beside(run_file, "mine.yaml")
    assert site(path) == 1
    assert "etcd does not answer" in capsys.readouterr().err
    assert RunConfig.from_yaml(path.with_name("config.yaml")) == RunConfig.from_yaml(path)


def test_a_run_goes_on_by_its_effective_configuration(run_file, capsys):
    assert site(run_file) == 1
    effective = run_file.parent / "run" / "config.yaml"
    before = effective.read_bytes()
    assert site(effective) == 1
    assert capsys.readouterr().err.count("etcd does not answer") == 2
    assert effective.read_bytes() == before


@pytest.mark.parametrize(
    ("directory", "reason"),
    [
        ("taken", "File exists"),
        ("taken/below", "Not a directory"),
        ("/proc/nope", "No such file or directory"),
        ('"a\\0b"', "embedded null byte"),
    ],
)
def test_a_run_directory_that_cannot_be_written_is_the_users_error(run_file, capsys, directory, reason):
    (run_file.parent / "taken").touch()
    assert site(run_file, "--set", f"run.directory={directory}") == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith("curtail: run.directory is ")
    assert f"({reason}); it must be a directory that can be written" in said


@pytest.mark.parametrize("part", ["events", "logs"])
def test_what_stands_where_events_or_logs_go_is_named(run_file, capsys, part):
    (run_file.parent / "run").mkdir()
    (run_file.parent / "run" / part).touch()
    assert site(run_file) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"run/{part}' of it (Not a directory)" in said
