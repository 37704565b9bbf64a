"""`curtail doctor`: what it says where all is well, and where one thing is not."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lengths import write_data

from curtail_dist.cli.main import main
from curtail_dist.coordination import EmbeddedEtcd
from curtail_dist.energy import Reading
from curtail_dist.security.secret import new_secret, read_secret

pytestmark = pytest.mark.integration

LOOKS = ["etcd", "addresses", "secret", "signals", "data", "snapshots", "program", "gpu"]


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with EmbeddedEtcd(None) as etcd:
        yield etcd.endpoint


@pytest.fixture
def run_file(tmp_path: Path, endpoint: str) -> Path:
    """A run file of which all is well."""
    (tmp_path / "wind.csv").write_text(
        "time,g_per_kwh\n2026-03-21T17:00:00+00:00,50\n2026-03-23T17:00:00+00:00,60\n"
    )
    site = {"power": {"train_w": 100.0, "idle_w": 10.0}}
    tree = {
        "run": {"name": "looked-at", "directory": "run", "start": "2026-03-21T17:00:00+00:00"},
        "coordination": {"endpoints": [endpoint]},
        "data": {"manifest": str(write_data(tmp_path / "data", 20))},
        "sites": {
            "wind": {**site, "signal": {"kind": "trace", "path": "wind.csv"}},
            "sun": {**site, "signal": {"kind": "constant", "value": 10.0}},
        },
        "train": {"program": "own.py"},
    }
    (tmp_path / "own.py").write_text("import curtail_dist as cd\n\ncd.arguments()\n")
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(tree))
    return file


@pytest.fixture
def looked(run_file: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, dict[str, Any]]]:
    """Run it with overrides; return its exit code and what each look found, by its name."""

    def look(*overrides: str) -> tuple[int, dict[str, Any]]:
        given = [word for one in overrides for word in ("--set", one)]
        code = main(["doctor", "--config", str(run_file), "--json", *given])
        found = json.loads(capsys.readouterr().out)
        assert [one["what"] for one in found] == LOOKS
        return code, {one["what"]: one for one in found}

    return look


def test_where_all_is_well_it_says_what_it_looked_at(looked, endpoint: str):
    code, found = looked()
    assert (code, [name for name, one in found.items() if not one["well"]]) == (0, [])
    assert found["etcd"]["says"] == f"answers at {endpoint}"
    assert found["signals"]["says"] == "2 can be read"
    assert found["data"]["says"] == "20 training rows in 1 shards, hashes right"
    assert found["program"]["says"].endswith("own.py --check finds nothing wrong")


def test_whether_sites_on_other_machines_read_the_snapshots_is_asked(looked, tmp_path: Path):
    elsewhere, where = "sites.sun.address=192.0.2.1", f"go below {tmp_path / 'run' / 'snapshots'}"
    assert looked()[1]["snapshots"]["says"] == where
    assert (
        looked(elsewhere, "state.url=s3://bucket/run")[1]["snapshots"]["says"] == "go below s3://bucket/run"
    )
    for unreachable, said in (
        ("refuse", "a site that cannot is refused: let state.url name one place, or"),
        ("wait", "waits for one that can"),
        ("rewind", "goes on from an older one"),
    ):
        told = looked(elsewhere, f"state.unreachable={unreachable}")[1]["snapshots"]["says"]
        assert told.startswith(f"{where}, which the machines of all sites should read; ") and said in told


def test_the_secret_is_told_by_its_fingerprint_and_what_it_means_to_have_none(looked, tmp_path: Path):
    assert looked()[1]["secret"]["says"] == "there is none, and sites are reached on this machine alone"
    assert "run looked-at has no secret, and" in looked("sites.sun.address=192.0.2.1")[1]["secret"]["says"]
    (tmp_path / "run.secret").touch(mode=0o600)
    (tmp_path / "run.secret").write_text(new_secret())
    mark = read_secret(tmp_path / "run.secret").fingerprint
    said = looked("security.secret_file=run.secret")[1]["secret"]["says"]
    assert said == f"it can be read here, fingerprint {mark}: the same at all sites"


def test_a_trace_that_ends_before_the_run_may_is_told(looked):
    # Its last value holds as long as those before it did: 48 h.
    code, found = looked("run.deadline_h=100")
    assert (code, found["signals"]["well"]) == (0, True)
    assert found["signals"]["says"] == (
        "2 can be read; that of wind ends after 96 h, and run.deadline_h is 100: there is none after it"
    )


@pytest.mark.parametrize(
    ("override", "what", "says"),
    [
        ("coordination.endpoints=[127.0.0.1:1]", "etcd", "127.0.0.1:1"),
        (
            "sites.sun.address=no-such-host.invalid",
            "addresses",
            "sites.sun.address is no-such-host.invalid, where no machine can listen",
        ),
        ("security.secret_file=none.secret", "secret", "none.secret cannot be read (No such file"),
        ("sites.wind.signal.path=none.csv", "signals", "none.csv"),
        ("sites.wind.average={kind: trace, path: none.csv}", "signals", "none.csv"),
        ("sites.wind.price={path: none.csv}", "signals", "none.csv"),
        ("policy.threshold_g_per_kwh=5", "signals", "so no site would ever start: set it above 10"),
        ("train.program=none.py", "program", "none.py"),
    ],
)
def test_one_thing_that_is_wrong_is_named_and_the_others_are_looked_at(looked, override, what, says):
    code, found = looked(override)
    assert code == 1
    assert [name for name, one in found.items() if not one["well"]] == [what]
    assert says in found[what]["says"] and "\n" not in found[what]["says"]


class Feed:
    source, synthetic, basis = "mine", False, "average"

    def __init__(self, **given: Any) -> None:
        del given

    def latest(self) -> Reading:
        return Reading(value=231.5, measured_at=0.0, basis="average")

    def forecast(self, horizon: float) -> list[Reading]:
        return [self.latest()][: int(horizon)]

    def outlook(self, until: float) -> list[tuple[float, float]]:
        return [(0.0, 231.5), (until, 231.5)]

    def close(self) -> None:
        pass


def test_what_a_feed_answers_is_told(looked):
    code, found = looked(f'sites.sun.signal={{kind: "{__name__}:Feed"}}')
    assert (code, found["signals"]["well"]) == (0, True)
    assert found["signals"]["says"] == "2 can be read; that of sun says 231.5 g/kWh (average)"


def test_a_manifest_that_is_not_there_is_named_by_the_program_too(looked):
    code, found = looked("data.manifest=none.json")
    assert code == 1
    assert [name for name, one in found.items() if not one["well"]] == ["data", "program"]
    assert all("none.json" in found[name]["says"] for name in ("data", "program"))


def test_a_site_that_runs_on_another_machine_is_not_this_ones_fault(looked):
    code, found = looked("sites.sun.address=198.51.100.1")
    assert (code, [name for name, one in found.items() if not one["well"]]) == (0, [])
    assert found["addresses"]["says"] == (
        "wind can be listened on here; the others must run elsewhere: sites.sun.address is 198.51.100.1, "
        "which this machine has not"
    )


def test_a_trace_may_lie_at_its_own_site_alone(looked):
    code, found = looked("sites.wind.address=198.51.100.1", "sites.wind.signal.path=none.csv")
    assert (code, found["signals"]["well"]) == (0, True)
    assert found["signals"]["says"].startswith("1 can be read; that of wind, which does not run here, cannot")


def test_a_machine_that_has_the_address_of_no_site_is_told_so(looked):
    code, found = looked("sites.wind.address=198.51.100.2", "sites.sun.address=198.51.100.1")
    assert (code, found["addresses"]["well"]) == (1, False)
    assert "198.51.100.1" in found["addresses"]["says"] and "198.51.100.2" in found["addresses"]["says"]


def test_what_the_rank_program_says_of_the_run_file_is_told(looked, run_file: Path):
    script = "import sys\n\nprint('error: train.speed is 0; it must not be')\nsys.exit(2)\n"
    (run_file.parent / "own.py").write_text(script)
    code, found = looked()
    assert (code, found["program"]["well"]) == (1, False)
    assert found["program"]["says"] == "train.speed is 0; it must not be"


def test_a_shard_with_another_byte_is_noticed(looked, run_file: Path):
    (shard,) = (run_file.parent / "data").glob("*.parquet")
    content = bytearray(shard.read_bytes())
    content[100] ^= 1
    shard.write_bytes(content)
    code, found = looked()
    assert (code, found["data"]["well"]) == (1, False)
    assert shard.name in found["data"]["says"]


def test_for_people_a_line_says_for_each_look_whether_it_is_well(run_file: Path, capsys):
    assert main(["doctor", "--config", str(run_file), "--set", "data.manifest=none.json"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["BAD" if what in ("data", "program") else "ok", what] for what in LOOKS
    ]


without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")


@without_gpu
def test_what_ranks_that_start_elsewhere_train_on_is_not_told_by_this_machine(looked):
    slurm = [f"sites.{name}.provisioner={{kind: slurm, slurm: {{}}}}" for name in ("wind", "sun")]
    assert (
        looked(*slurm)[1]["gpu"]["says"]
        == "none here; ranks start elsewhere (slurm), where nobody has looked"
    )
    mixed = looked(slurm[0])[1]["gpu"]["says"]
    assert mixed == "none: ranks train on the CPU; of those that start elsewhere (slurm) nobody knows"


@without_gpu
def test_a_gpu_that_is_asked_for_and_not_there_is_found_missing(looked):
    code, found = looked("train.program=curtail_launch.train", "train.device=cuda")
    assert code == 1
    assert not found["gpu"]["well"]
    assert "train.device is cuda" in found["gpu"]["says"]
