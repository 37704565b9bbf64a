"""Image, services and the workflow that publishes: pinned, locked down, and made of files that are there.

Nothing is built here: that takes a container daemon, which this does not have. The workflow builds, and looks
whether the image starts.
"""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from launchfiles import LAUNCH, LEAVES_S, ROOT

CONTAINERFILE = LAUNCH / "container" / "Containerfile"
IGNORE = LAUNCH / "container" / "Containerfile.dockerignore"
WORKFLOW = ROOT / ".github" / "workflows" / "image.yml"
UNITS = sorted((LAUNCH / "systemd").glob("*.service"))
SECRET = re.compile(r"secret|token|passw|credential|\bkey\b", re.IGNORECASE)


def instructions() -> list[tuple[str, str]]:
    """(instruction, its words) of the Containerfile, comments left out and lines joined."""
    lines = [line for line in CONTAINERFILE.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [
        (first, rest.strip())
        for line in joined.splitlines()
        if line.strip()
        for first, _, rest in [line.strip().partition(" ")]
    ]


def of(name: str) -> list[str]:
    return [words for instruction, words in instructions() if instruction == name]


def ignored(path: str) -> bool:
    """Whether the build context lacks a file: the last pattern that fits it, or a folder above, decides."""
    gone = False
    for line in IGNORE.read_text().splitlines():
        pattern = line.strip()
        if not pattern or pattern.startswith("#"):
            continue
        kept, pattern = pattern.startswith("!"), pattern.lstrip("!")
        where = re.escape(pattern).replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*")
        if re.fullmatch(rf"{where}(?:/.*)?", path):
            gone = not kept
    return gone


# The image


def test_the_images_it_stands_on_are_pinned():
    defaults = dict(words.split("=") for words in of("ARG") if "=" in words)
    stages = set()
    for words in of("FROM"):
        image, _, stage = words.partition(" AS ")
        for name, value in defaults.items():
            image = image.replace(f"${{{name}}}", value)
        assert image in stages or re.search(r":\d+\.\d+\.\d+-", image), image
        stages.add(stage)
    pinned = [words for words in of("RUN") if "pip install" in words and "uv==" in words]
    assert len(pinned) == 1


def test_the_last_stage_ends_as_a_user_without_rights():
    last = instructions()
    last = last[max(i for i, (name, _) in enumerate(last) if name == "FROM") :]
    users = [i for i, (name, _) in enumerate(last) if name == "USER"]
    assert [last[i][1] for i in users] == ["10001:10001"]
    assert not {"RUN", "COPY", "ADD"} & {name for name, _ in last[users[0] :]}
    assert ("STOPSIGNAL", "SIGTERM") in last
    assert ("ENTRYPOINT", '["curtail"]') in last


def test_no_secret_and_nothing_from_the_network_goes_into_the_image_unseen():
    assert not of("ADD")
    for words in (*of("ARG"), *of("ENV"), *of("COPY")):
        assert not SECRET.search(words), words
    for words in of("RUN"):
        assert not re.search(r"\b(curl|wget)\b", words)
        if "apt-get install" in words:
            assert "--no-install-recommends" in words
            assert "rm -rf /var/lib/apt/lists/*" in words


def test_what_is_copied_is_there_and_in_the_build_context():
    copied: list[str] = []
    for words in of("COPY"):
        if words.startswith("--from="):
            continue
        *sources, _ = words.split()
        copied += sources
        for source in sources:
            assert (ROOT / source).exists(), source
            assert not ignored(source), source
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    for package in (*packages, *project["tool"]["uv"]["workspace"]["members"]):
        assert any(Path(package).is_relative_to(one) for one in copied), package


@pytest.mark.parametrize(
    "path",
    [
        ".git/config",
        ".venv/bin/python",
        "runs/demo/run.yaml",
        "rustbpe/target/x",
        "tests/conftest.py",
        "launch/compose/tls/ca-key.pem",
        "run.secret",
    ],
)
def test_what_does_not_belong_into_the_image_is_not_sent_to_the_builder(path: str):
    assert ignored(path)


def test_what_carries_cuda_is_left_out_for_processors_and_nothing_else():
    install = next(words for words in of("RUN") if "without-cuda.txt" in words)
    pattern = re.search(r"grep -Ev '([^']+)'", install)
    assert pattern is not None
    locked = [one["name"] for one in tomllib.loads((ROOT / "uv.lock").read_text())["package"]]
    left_out = {name for name in locked if re.match(pattern[1], f"{name}==1")}
    assert left_out == {
        name for name in locked if name in ("torch", "triton") or name.startswith(("nvidia-", "cuda-"))
    }
    assert "torch" in left_out


def test_every_command_of_the_build_is_one_for_sh():
    for words in of("RUN"):
        done = subprocess.run(["sh", "-nc", words], capture_output=True, timeout=20, check=False)
        assert done.returncode == 0, (words, done.stderr)


# The workflow


def test_the_workflow_may_do_no_more_than_publish():
    flow = yaml.safe_load(WORKFLOW.read_text())
    assert flow[True] == {"push": {"tags": ["v*.*.*"]}}  # YAML 1.1 reads `on` so
    assert flow["permissions"] == {}
    (job,) = flow["jobs"].values()
    assert job["permissions"] == {"contents": "read", "packages": "write"}
    assert job["timeout-minutes"] <= 120
    assert re.fullmatch(r"ubuntu-\d\d\.\d\d", job["runs-on"])
    assert job["strategy"]["matrix"]["device"] == ["cpu", "cuda"]
    for step in job["steps"]:
        if "uses" in step:
            assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", step["uses"]), step["uses"]
        if "secrets." in str(step):
            assert step["env"] == {"TOKEN": "${{ secrets.GITHUB_TOKEN }}"}
        if "run" in step:
            assert "${{" not in step["run"], "a value that is pasted into a script can be a command"
            done = subprocess.run(["bash", "-nc", step["run"]], capture_output=True, timeout=20, check=False)
            assert done.returncode == 0, done.stderr
    assert job["steps"][0]["with"] == {"persist-credentials": False}
    built = next(step["run"] for step in job["steps"] if "docker build" in step.get("run", ""))
    assert str(CONTAINERFILE.relative_to(ROOT)) in built


# Services


def setting(unit: Path, name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", unit.read_text(), re.MULTILINE)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_takes_the_unit_and_finds_it_locked_down(unit: Path, tmp_path: Path):
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not on this machine: the units were not verified")
    # The program need not be installed where this runs; all else is as it stands.
    name = unit.name.replace("@.", "@california.")
    stands = re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", unit.read_text(), flags=re.MULTILINE)
    (tmp_path / name).write_text(stands)
    done = subprocess.run(
        [analyze, "verify", "--man=no", str(tmp_path / name)], capture_output=True, timeout=50, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")
    exposed = subprocess.run(
        [analyze, "security", "--offline=true", "--threshold=35", str(tmp_path / name)],
        capture_output=True,
        timeout=50,
        check=False,
    )
    assert exposed.returncode == 0, exposed.stdout.decode()[-400:]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_service_gains_no_rights_and_writes_only_its_own_state(unit: Path):
    assert setting(unit, "NoNewPrivileges") == ["yes"]
    assert setting(unit, "ProtectSystem") == ["strict"]
    assert setting(unit, "CapabilityBoundingSet") == [""]
    assert not setting(unit, "ReadWritePaths")
    assert len(setting(unit, "StateDirectory")) == 1
    assert setting(unit, "User") not in ([], ["root"])


def test_the_agents_service_gives_it_time_to_leave_and_does_not_repeat_a_wrong_run_file():
    unit = LAUNCH / "systemd" / "curtail-site@.service"
    assert setting(unit, "KillMode") == ["mixed"]  # SIGTERM is for the agent, which asks its ranks
    assert setting(unit, "TimeoutStopSec") == ["3min"]
    assert LEAVES_S < 180
    assert f"{LEAVES_S:g} s" in unit.read_text()
    assert setting(unit, "Restart") == ["on-failure"]
    assert setting(unit, "RestartPreventExitStatus") == ["2"]
    # Without etcd a start ends within seconds: any limit would be reached while etcd is away for minutes.
    assert setting(unit, "StartLimitIntervalSec") == ["0"]
    assert setting(unit, "ExecStart")[0].endswith("curtail site --config /etc/curtail/run.yaml --site %i")
