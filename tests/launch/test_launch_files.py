"""The files in launch/ are what they say: they load, name what exists, and their commands are taken."""

import importlib.util
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from curtail_launch import train
from curtail_launch.demo.script import Wishes, run_tree
from launchfiles import COMPOSE, LAUNCH, LEAVES_S, OPERATING, ROOT, composed, load, parsed

from curtail_dist.config import RunConfig

RUNS = sorted((LAUNCH / "runs").glob("*.yaml"))


# Run files


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.stem)
def test_a_run_file_loads_and_passes_the_rank_programs_check(path: Path, material, tmp_path: Path, capsys):
    tree = RunConfig.from_yaml(path).to_mapping()
    assert {"manifest", "tokenizer"} <= {*tree["data"], *tree["train"]}
    tree["data"]["manifest"] = str(material.manifest)
    tree["train"]["tokenizer"] = str(material.tokenizer)
    filled_in = tmp_path / "run.yaml"
    filled_in.write_text(yaml.safe_dump(tree))
    assert train.main(["--check", "--config", str(filled_in)]) == 0, capsys.readouterr().err


def test_the_run_files_are_these():
    names = {path.stem for path in RUNS}
    assert names == {"own-machine", "demo-day", "three-sites-d20", "always-on-one", "always-on-two"}


@pytest.mark.parametrize(("name", "count"), [("always-on-one", 1), ("always-on-two", 2)])
def test_a_baseline_is_the_run_but_for_its_sites_and_their_being_always_on(name: str, count: int):
    run, baseline = load("runs", "three-sites-d20.yaml"), load("runs", f"{name}.yaml")
    assert list(baseline["sites"].items()) == list(run["sites"].items())[:count]
    assert baseline["policy"]["kind"] == "always"
    for section in run.keys() - {"run", "sites", "policy", "state"}:
        assert baseline[section] == run[section], section
    assert baseline.keys() == run.keys()
    for key in (("run", "name"), ("run", "directory"), ("state", "url")):
        assert baseline[key[0]][key[1]] != run[key[0]][key[1]]


def test_the_demo_day_is_the_demos_day(material, tmp_path: Path):
    demo = run_tree(Wishes(out=tmp_path), material, etcd="127.0.0.1:1", clock="127.0.0.1:2")
    by_hand = load("runs", "demo-day.yaml")
    assert [*by_hand["sites"]] == [*demo["sites"]]
    for section in ("policy", "model", "outer"):
        assert by_hand[section] == demo[section]
    for key in ("sync_s", "join_s"):
        assert by_hand["clock"][key] == demo["clock"][key]
    assert by_hand["run"]["deadline_h"] == demo["run"]["deadline_h"]
    own = demo["train"].keys() - {"tokenizer", "total_tokens"}
    assert {key: by_hand["train"][key] for key in own} == {key: demo["train"][key] for key in own}


def test_the_demo_days_stage_prints_commands_that_work():
    spec = importlib.util.spec_from_file_location("demo_day", LAUNCH / "runs" / "demo_day.py")
    assert spec is not None and spec.loader is not None
    stage_program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(stage_program)
    stage = SimpleNamespace(clock=SimpleNamespace(endpoint="127.0.0.1:7001"), etcd="127.0.0.1:7002")
    printed = stage_program.commands(LAUNCH / "runs" / "demo-day.yaml", stage)
    assert len(printed) == 3
    for line in printed:
        args = parsed(line)
        config = RunConfig.from_yaml(args.config, args.set)
        assert args.site[0] in config.sites
        assert config.clock.endpoint == "127.0.0.1:7001"
        assert config.coordination.endpoints == ("127.0.0.1:7002",)


# Commands in headers and in the documentation


OWN = ("runs", "compose", "systemd", "container", "grafana", "prometheus")
"""Folders of launch/ that this looks into; the others have tests of their own."""


def written_commands() -> list[str]:
    """Commands of `curtail` in headers and documentation, on lines of their own or in quotes."""
    files = [path for name in OWN for path in (LAUNCH / name).rglob("*") if path.suffix != ".json"]
    found: set[str] = set()
    for file in (OPERATING, *(path for path in files if path.is_file() and "__pycache__" not in path.parts)):
        text = re.sub(r"^# ?", "", file.read_text(), flags=re.MULTILINE)
        found.update(
            re.findall(r"^(?: {4}|.*: )(?:docker compose exec \w+ )?(curtail [a-z][^`\n|]*)$", text, re.M)
        )
        quoted = re.findall(r"`(?:docker compose exec \w+ )?(curtail [a-z][^`]*)`", text)
        found.update(" ".join(one.split()) for one in quoted if " --" in one or one.endswith(" texas"))
    return sorted(one.partition("   ")[0].strip() for one in found)


@pytest.mark.parametrize("line", written_commands())
def test_a_written_command_is_one_that_curtail_takes(line: str):
    parsed(f"{line} --config run.yaml" if line.endswith(" texas") else line)


def test_commands_were_found():
    assert len(written_commands()) > 12


def test_every_file_begins_with_how_to_use_it():
    for name in OWN:
        for path in (LAUNCH / name).rglob("*"):
            if path.is_file() and path.suffix not in (".json", ".pyc"):
                first = path.read_text().partition("\n")[0]
                assert len(first.lstrip('#" ')) > 20 and first[0] in '#"', path


# Compose

_SERVICE = {
    "image": str,
    "build": dict,
    "init": bool,
    "restart": str,
    "stop_grace_period": str,
    "read_only": bool,
    "tmpfs": list,
    "cap_drop": list,
    "security_opt": list,
    "volumes": list,
    "depends_on": dict,
    "healthcheck": dict,
    "command": list,
    "entrypoint": list,
    "ports": list,
    "environment": dict,
}


@pytest.fixture(params=[("compose.yaml",), ("compose.yaml", "compose.tls.yaml")], ids=["plain", "tls"])
def compose(request) -> dict:
    return composed(*request.param)


def test_compose_files_use_known_keys_with_values_of_their_types(compose: dict):
    assert {key for key in compose if not key.startswith("x-")} == {"name", "services", "volumes"}
    for name, service in compose["services"].items():
        assert service.keys() <= _SERVICE.keys(), name
        for key, value in service.items():
            assert isinstance(value, _SERVICE[key]), f"{name}.{key}"
        assert not service.get("privileged")
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        for key in ("command", "entrypoint", "ports", "volumes", "tmpfs"):
            assert all(isinstance(one, str) for one in service.get(key, [])), f"{name}.{key}"
        health = service["healthcheck"]
        assert health == {"disable": True} or health["test"][0] == "CMD", name


def test_composed_images_are_pinned_and_no_port_is_open_beyond_this_machine(compose: dict):
    for name, service in compose["services"].items():
        assert re.search(r":v?\d+\.\d+\.\d+(-cpu)?$", service["image"]), name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name


def test_what_compose_mounts_and_waits_for_is_there(compose: dict):
    services, volumes = compose["services"], compose["volumes"]
    for name, service in services.items():
        for mount in service.get("volumes", []):
            source, target, *how = mount.split(":")
            assert target.startswith("/")
            if not source.startswith("."):
                assert source in volumes, f"{name}: {source}"
                continue
            assert how == ["ro"], mount
            assert source == "./tls" or (COMPOSE / source).exists(), mount  # the user makes tls
        for other, condition in service.get("depends_on", {}).items():
            healthy = services[other]["healthcheck"] != {"disable": True}
            assert condition["condition"] == (
                "service_healthy" if healthy else "service_completed_successfully"
            )
        if "build" in service:
            context = (COMPOSE / service["build"]["context"]).resolve()
            assert context == ROOT
            assert (context / service["build"]["dockerfile"]).is_file()
    assert volumes.keys() == {
        mount.split(":")[0]
        for service in services.values()
        for mount in service.get("volumes", [])
        if mount[0] not in "./"
    }


def test_composed_sites_are_those_of_the_run_file(compose: dict, material, tmp_path: Path):
    config = RunConfig.from_yaml(COMPOSE / "run.yaml")
    agents = {name: one for name, one in compose["services"].items() if one.get("command", [""])[0] == "site"}
    assert agents.keys() == config.sites.keys()
    for name, service in agents.items():
        args = parsed(shlex.join(["curtail", *service["command"]]))
        assert (args.site, args.config) == ([name], "/etc/curtail/run.yaml")
        assert config.sites[name].address == name
        overridden = RunConfig.from_yaml(COMPOSE / "run.yaml", args.set)
        tls = any("client-cert-auth" in word for word in compose["services"]["etcd"]["command"])
        assert (overridden.coordination.tls is not None) == tls
        assert service["stop_grace_period"] == "3m" and LEAVES_S < 180
        assert service["init"] and service["read_only"]
    places = (config.run.directory, config.data.manifest.parent.parent)
    assert {str(place) for place in places} <= {mount.split(":")[1] for mount in service["volumes"]}
    tree = {**config.to_mapping(), "data": {"manifest": str(material.manifest)}}
    tree["train"]["tokenizer"] = str(material.tokenizer)
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(tree))
    assert train.main(["--check", "--config", str(tmp_path / "run.yaml")]) == 0


@pytest.mark.parametrize("over", [[], ["compose.tls.yaml"]], ids=["plain", "tls"])
def test_docker_takes_the_compose_files(over: list[str]):
    docker = shutil.which("docker")
    plugin = docker and subprocess.run(
        [docker, "compose", "version"], capture_output=True, timeout=20, check=False
    )
    if not plugin or plugin.returncode:
        pytest.skip("docker's compose plugin is not on this machine: `docker compose config` was not asked")
    files = [word for name in ("compose.yaml", *over) for word in ("-f", name)]
    done = subprocess.run(
        [docker, "compose", *files, "config", "--quiet"],
        cwd=COMPOSE,
        capture_output=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
