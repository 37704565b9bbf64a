"""The script that makes WireGuard's configurations: with a stand-in for `wg`, and where there is none."""

import os
import stat
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "launch" / "wireguard" / "setup.sh"
STAND_IN = """#!/bin/bash
case $1 in
    genkey) echo "private-$RANDOM$RANDOM" ;;
    pubkey) read -r key; echo "public-of-$key" ;;
esac
"""


@pytest.fixture
def tools(tmp_path):
    """A PATH with what the script needs, and no `wg`."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("bash", "env", "mkdir"):
        found = next(Path(place, name) for place in os.defpath.split(":") if Path(place, name).exists())
        (folder / name).symlink_to(found)
    return folder


@pytest.fixture
def wg(tools):
    (tools / "wg").write_text(STAND_IN)
    (tools / "wg").chmod(0o755)
    return tools


def run(tools, *arguments):
    return subprocess.run(
        [tools / "bash", SCRIPT, *arguments],
        env={"PATH": str(tools)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def sections(path):
    found = []
    for line in path.read_text().splitlines():
        if line.startswith("["):
            found.append({"section": line.strip("[]")})
        elif " = " in line:
            key, value = line.split(" = ")
            found[-1][key] = value
    return found


def test_the_script_is_one_that_bash_can_read():
    subprocess.run(["bash", "-n", SCRIPT], check=True, timeout=30)


def test_where_wireguard_is_absent_it_says_so_and_writes_nothing(tools, tmp_path):
    done = run(tools, str(tmp_path / "out"), "a=a.example", "b=b.example")
    assert done.returncode == 1
    assert "wg is not on the PATH; install wireguard-tools" in done.stderr
    assert not (tmp_path / "out").exists()


def test_each_site_knows_all_others_and_its_own_key_alone(wg, tmp_path):
    out = tmp_path / "out"
    done = run(wg, str(out), "a=a.example", "b=10.1.2.3:5000", "etcd=c.example")
    assert done.returncode == 0, done.stderr
    configurations = {name: sections(out / name / "curtail.conf") for name in ("a", "b", "etcd")}
    keys = {name: found[0]["PrivateKey"] for name, found in configurations.items()}
    assert len(set(keys.values())) == 3
    endpoints = {"a": "a.example:51820", "b": "10.1.2.3:5000", "etcd": "c.example:51820"}
    addresses = {"a": "10.77.0.1", "b": "10.77.0.2", "etcd": "10.77.0.3"}
    for name, (interface, *peers) in configurations.items():
        assert interface["section"] == "Interface"
        assert interface["Address"] == f"{addresses[name]}/24"
        assert interface["ListenPort"] == endpoints[name].rpartition(":")[2]
        others = [other for other in keys if other != name]
        assert [peer["PublicKey"] for peer in peers] == [f"public-of-{keys[other]}" for other in others]
        assert [peer["Endpoint"] for peer in peers] == [endpoints[other] for other in others]
        assert [peer["AllowedIPs"] for peer in peers] == [f"{addresses[other]}/32" for other in others]
        assert stat.S_IMODE((out / name / "curtail.conf").stat().st_mode) == 0o600
    assert "address: 10.77.0.2" in done.stdout
    assert "endpoints: [10.77.0.3:2379]" in done.stdout
    assert not any(key in done.stdout for key in keys.values())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["out"], "at least two"),
        (["out", "a=x", "b"], "NAME=HOST"),
        (["out", "a=x", "a=y"], "a was given twice"),
        (["out", "a=x;id", "b=y"], "NAME=HOST"),
        (["--net", "10.0", "out", "a=x", "b=y"], "three numbers"),
        (["--what", "1", "out", "a=x", "b=y"], "is not known"),
    ],
)
def test_what_is_given_wrong_is_said(wg, tmp_path, arguments, says):
    done = run(wg, *(str(tmp_path / one) if one == "out" else one for one in arguments))
    assert done.returncode == 2
    assert says in done.stderr
    assert not (tmp_path / "out").exists()


def test_keys_that_are_there_are_not_written_over(wg, tmp_path):
    (tmp_path / "out").mkdir()
    done = run(wg, str(tmp_path / "out"), "a=x", "b=y")
    assert done.returncode == 2
    assert "exists" in done.stderr
