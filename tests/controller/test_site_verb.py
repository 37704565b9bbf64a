"""`curtail site`: what it checks first, and one whole run of it."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from curtail_dist.cli.site import VERB, check_program, write_effective
from curtail_dist.clock.service import ClockService
from curtail_dist.config import RunConfig
from curtail_dist.coordination import EmbeddedEtcd
from curtail_dist.errors import CurtailError, UserError
from curtail_dist.telemetry.record import read_events

PROGRAM = """
import argparse, os, signal
from pathlib import Path
from curtail_dist.clock import open_clock
from curtail_dist.config import RunConfig
from curtail_dist.coordination import open_store
from curtail_dist.membership.keys import Keys
from curtail_dist.membership.records import Commit, Epoch, Member, Presence

parser = argparse.ArgumentParser()
parser.add_argument("--config")
parser.add_argument("--site")
parser.add_argument("--check", action="store_true")
args = parser.parse_args()
if args.check:
    raise SystemExit(0)
config = RunConfig.from_yaml(args.config)
keys = Keys(config.run.name)
clock = open_clock(config.clock, start=None, participant=f"rank:{args.site}")
mark = Path(config.run.directory, "killed")
with open_store(config.coordination) as store:
    clock.arrive()
    me = Member(site=args.site, incarnation=str(os.getpid()), host="h", group_port=1, state_port=2)
    store.put(keys.member(args.site), Presence(member=me).encode())
    store.put(keys.epoch, Epoch(number=1, members=(me,), reason="founded").encode())
    while store.get(keys.drain(args.site)) is None:
        clock.spend(10.0)
        if clock.now() > 600.0 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if clock.now() > 3600.0:
            last = Commit(version=1, hash="h1", parent="h0", epoch=1, total_rows=1, done=((0, 1),))
            store.put(keys.head, last.encode())
            break
clock.close()
"""

GREEN = {"signal": {"kind": "constant", "value": 1.0}, "power": {"train_w": 300.0, "idle_w": 50.0}}
"""A site that is on whenever it may."""

TRACE = """time,g_per_kwh
2026-03-21T00:00:00+00:00,50
2026-03-21T00:20:00+00:00,300
2026-03-21T00:40:00+00:00,50
2026-03-21T02:00:00+00:00,50
"""


@pytest.fixture
def checked(make_config: Callable[..., RunConfig], tmp_path: Path) -> Callable[[str], None]:
    def check(source: str) -> None:
        program = tmp_path / "own.py"
        program.write_text(source)
        check_program(make_config(train={"program": str(program)}), tmp_path / "run.yaml")

    return check


def test_a_program_that_accepts_the_run_file_is_started(checked):
    checked("import sys; assert sys.argv[1:3] == ['--check', '--config']")


def test_what_the_program_says_of_a_wrong_run_file_is_passed_on(checked):
    with pytest.raises(UserError, match=r"^model.depth is 0; it must be at least 1$"):
        checked("import sys; print('model.depth is 0; it must be at least 1', file=sys.stderr); sys.exit(2)")
    with pytest.raises(UserError, match=r"^model.depth is 0$"):
        checked("import sys; print('error: model.depth is 0', file=sys.stderr); sys.exit(2)")


def test_a_program_that_fails_is_no_mistake_of_the_user(checked):
    with pytest.raises(CurtailError, match="code 1 and said: RuntimeError: broken") as caught:
        checked("raise RuntimeError('broken')")
    assert not isinstance(caught.value, UserError)


def test_the_effective_configuration_stands_in_the_run_directory(config, tmp_path):
    path = write_effective(config, "texas", given=tmp_path / "run.yaml")
    assert path == tmp_path / "config.yaml"
    assert RunConfig.from_yaml(path) == config
    assert [entry.name for entry in tmp_path.iterdir()] == ["config.yaml"]


def run_file(directory: Path, **sections: object) -> Path:
    program = directory / "program.py"
    program.write_text(PROGRAM)
    (directory / "trace.csv").write_text(TRACE)
    tree = {
        "run": {"name": "day", "directory": "run", "start": "2026-03-21T00:00:00+00:00"},
        "data": {"manifest": "none.json"},
        "policy": {"poll_s": 60.0, "leave_delay_s": 120.0},
        "sites": {
            "texas": {
                "signal": {"kind": "trace", "path": "trace.csv"},
                "power": {"train_w": 300.0, "idle_w": 50.0},
            }
        },
        "train": {"program": str(program)},
        **sections,
    }
    path = directory / "run.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def command(path: Path) -> list[str]:
    main = "import sys; from curtail_dist.cli.main import main; sys.exit(main(sys.argv[1:]))"
    return [sys.executable, "-c", main, VERB.name, "--config", str(path), "--site", "texas"]


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 40.0
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.fault
@pytest.mark.timeout(180)
def test_torchrun_starts_drains_and_is_killed_as_the_trace_and_fate_want(tmp_path):
    with EmbeddedEtcd(None) as etcd, ClockService() as service:
        path = run_file(
            tmp_path,
            clock={"kind": "virtual", "endpoint": service.endpoint, "join_s": 120.0},
            coordination={"endpoints": [etcd.endpoint]},
        )
        done = subprocess.run(command(path), timeout=150, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    records = read_events(tmp_path / "run")
    phases = [(record.t, record["phase"]) for record in records if record.event == "phase"]
    assert (tmp_path / "run" / "killed").exists()
    assert [phase for _, phase in phases] == ["off", "join", "join", "off", "join", "off"]
    # Killed at 610 and seen by the next poll; asked to leave 120 s above the threshold; on again at 2400.
    assert [t for t, _ in phases][:3] == [0.0, 0.0, 660.0]
    assert phases[3][0] == pytest.approx(1320.0, abs=20.0)
    assert phases[4][0] == 2400.0
    assert [record["code"] for record in records if record.event == "ranks_exited"] == [0, 0]


OWN = """
from curtail_dist.energy import Decision, Reading


class Below:
    def __init__(self, limit):
        self.limit = limit

    def decide(self, memory, *, running, reading, now, wanted=None):
        on = reading.value < self.limit
        action = "keep" if on == running else "start" if on else "drain"
        return Decision(action=action, reason=f"my rule says {action}"), memory


class Grid:
    synthetic, basis = True, "marginal"

    def __init__(self, *, clock, start, site, green):
        self.clock, self.green, self.source = clock, green, f"my grid of {site}"

    def latest(self):
        now = self.clock.now()
        return Reading(value=self.green if now < 600.0 or now > 1200.0 else 400.0, measured_at=now)

    def forecast(self, horizon):
        return [self.latest()]

    def outlook(self, until):
        return [(0.0, self.green), (until, self.green)]

    def close(self):
        pass
"""


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_site_follows_a_policy_and_a_signal_of_ones_own(tmp_path, monkeypatch):
    (tmp_path / "my_kinds.py").write_text(OWN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    signal = {"kind": "my_kinds:Grid", "options": {"green": 50.0}}
    with EmbeddedEtcd(None) as etcd, ClockService() as service:
        path = run_file(
            tmp_path,
            clock={"kind": "virtual", "endpoint": service.endpoint, "join_s": 60.0},
            coordination={"endpoints": [etcd.endpoint]},
            policy={"kind": "my_kinds:Below", "options": {"limit": 100.0}, "poll_s": 60.0},
            sites={"texas": {"signal": signal, "power": {"train_w": 300.0, "idle_w": 50.0}}},
        )
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "killed").touch()  # the program kills itself once, where it has not yet
        done = subprocess.run(command(path), timeout=150, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    records = read_events(tmp_path / "run")
    decided = [(r.t, r["action"], r["reason"]) for r in records if r.event == "decided"]
    assert [(action, reason) for _, action, reason in decided if action != "keep"] == [
        ("start", "my rule says start"),
        ("drain", "my rule says drain"),
        ("start", "my rule says start"),
    ]
    assert {record["source"] for record in records if record.event == "reading"} == {"my grid of texas"}


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.timeout(120)
def test_sigterm_to_the_agent_drains_the_site_and_leaves_nothing_behind(tmp_path):
    with EmbeddedEtcd(None) as etcd:
        path = run_file(
            tmp_path,
            coordination={"endpoints": [etcd.endpoint]},
            sites={"texas": GREEN},
            run={"name": "day", "directory": "run"},
        )
        events = tmp_path / "run" / "events"
        with subprocess.Popen(command(path), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as agent:
            eventually(
                lambda: any('"was": "joining"' in file.read_text() for file in events.glob("texas.agent.*"))
            )
            agent.send_signal(signal.SIGTERM)
            said = agent.communicate(timeout=90)
        assert agent.returncode == 130, said
    exits = [record["code"] for record in read_events(tmp_path / "run") if record.event == "ranks_exited"]
    assert exits == [0]
    left = subprocess.run(["pgrep", "-f", str(path.parent)], capture_output=True, text=True, check=False)
    assert left.stdout == ""


REFUSING = """
import curtail_dist as cd

config, name = cd.arguments()
raise cd.IdentityMismatch("outer.lr is 0.5, the run's is 0.7")
"""


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.timeout(120)
def test_what_ranks_below_torchrun_refuse_for_good_ends_the_agent_with_their_line_and_code_2(tmp_path):
    with EmbeddedEtcd(None) as etcd:
        path = run_file(
            tmp_path,
            coordination={"endpoints": [etcd.endpoint]},
            sites={"texas": GREEN},
            data={"manifest": "data.json"},
            run={"name": "day", "directory": "run"},
        )
        (tmp_path / "program.py").write_text(REFUSING)
        (tmp_path / "data.json").write_text('{"schema": 1, "name": "numbers", "rows": 8}')
        done = subprocess.run(command(path), timeout=100, capture_output=True, text=True, check=False)
    log = tmp_path / "run" / "logs" / "texas.log"
    said = f"outer.lr is 0.5, the run's is 0.7; see {log}"
    assert (done.returncode, done.stderr) == (2, f"curtail: {said}\n")
    records = read_events(tmp_path / "run")
    assert [record["reason"] for record in records if record.event == "ranks_died"] == [said]
    assert sum(record.event == "ranks_started" for record in records) == 1
    assert log.read_text().count("error: outer.lr is 0.5, the run's is 0.7\n") == 1


def commanded(path: Path, *sites: str) -> dict[str, object]:
    """Return sites whose ranks the shipped script starts, the rank program itself in torchrun's place."""
    script = Path(__file__).parents[2] / "launch" / "command" / "local.sh"
    program = f"{sys.executable} {path / 'program.py'} --config {path / 'run' / 'config.yaml'}"
    made: dict[str, object] = {}
    for site in sites:
        argv = ["env", f"CURTAIL_TORCHRUN={program} --site {site}", str(script)]
        command = {name: [*argv, name] for name in ("start", "stop", "poll")}
        made[site] = {
            **GREEN,
            "provisioner": {"kind": "command", "command": {**command, "every_s": 0.1}},
        }
    return made


def stages(directory: Path) -> list[tuple[str, str, str]]:
    if not any((directory / "events").glob("*.jsonl")):
        return []
    return [
        (record.site, record["stage"], record["reason"])
        for record in read_events(directory)
        if record.event == "stage"
    ]


def found(directory: Path) -> set[str]:
    return {site for site, _, reason in stages(directory) if reason == "its ranks run already"}


def ranks(directory: Path) -> dict[str, int]:
    return {one.stem: int(one.read_text()) for one in (directory / "command").glob("*.pid")}


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.fault
@pytest.mark.timeout(180)
def test_two_sites_of_one_killed_process_are_found_by_the_next_and_drained_by_its_sigterm(tmp_path):
    both = [sys.executable, "-m", "curtail_dist.cli.main", "site", "--unchecked"]
    run = tmp_path / "run"
    with EmbeddedEtcd(None) as etcd:
        path = run_file(
            tmp_path,
            coordination={"endpoints": [etcd.endpoint]},
            sites=commanded(tmp_path, "texas", "ohio"),
            run={"name": "day", "directory": "run"},
        )
        each = ["--config", str(path), "--site", "texas", "--site", "ohio"]
        with subprocess.Popen([*both, *each]) as first:
            try:
                eventually(lambda: {site for site, *_ in stages(run)} == set(ranks(run)) == {"texas", "ohio"})
            finally:
                first.kill()
        before = ranks(run)
        assert set(before) == {"texas", "ohio"}
        assert all(Path(f"/proc/{pid}").exists() for pid in before.values())
        every = ["--config", str(path), "--site", "all"]
        with subprocess.Popen([*both, *every], stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as second:
            try:
                eventually(lambda: found(run) == {"texas", "ohio"})
                assert ranks(run) == before
                second.send_signal(signal.SIGTERM)
                said = second.communicate(timeout=90)[0].decode()
            finally:
                second.kill()
        assert second.returncode == 130, said
        assert not any(Path(f"/proc/{pid}").exists() for pid in before.values())
    assert not [record for record in read_events(run) if record.event == "ranks_died"]
    assert all(f"site {site}: interrupted" in said for site in ("texas", "ohio"))
