"""What torchrun is told: the machines, the store and how to reach it, the rank program."""

from pathlib import Path

import pytest

from curtail_dist.errors import ProvisionError
from curtail_dist.membership.provision.torchrun import rendezvous_id, site_environment, torchrun_command

RUN_FILE = Path("/run.yaml")
DISABLED = "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"


def site(**provisioner):
    return {
        "texas": {
            "signal": {"kind": "constant", "value": 1.0},
            "power": {"train_w": 1.0, "idle_w": 1.0},
            "provisioner": provisioner,
        }
    }


def of(command: list[str], option: str) -> str | None:
    return command[command.index(option) + 1] if option in command else None


def test_torchrun_starts_modules_and_scripts(make_config):
    module = torchrun_command(make_config(), RUN_FILE, "texas", "day.texas.1")
    assert module[-6:] == ["-m", "curtail_launch.train", "--config", "/run.yaml", "--site", "texas"]
    assert of(module, "--rdzv-id") == "day.texas.1"
    script = torchrun_command(make_config(train={"program": "/own/train.py"}), RUN_FILE, "texas", "x")
    assert script[-5:] == ["/own/train.py", "--config", "/run.yaml", "--site", "texas"]
    assert script[-6] != "-m"


def test_ranks_are_spread_evenly_over_a_sites_machines(make_config):
    command = {"start": ["a"], "stop": ["b"], "poll": ["c"]}
    config = make_config(sites=site(kind="command", command=command, ranks=8, nodes=2))
    torchrun = torchrun_command(config, RUN_FILE, "texas", "x")
    assert (of(torchrun, "--nnodes"), of(torchrun, "--nproc-per-node")) == ("2", "4")


def test_every_endpoint_of_the_store_is_tried(make_config):
    endpoints = ["one:2379", "two:2379", "three:2379"]
    command = torchrun_command(make_config(coordination={"endpoints": endpoints}), RUN_FILE, "texas", "x")
    assert of(command, "--rdzv-endpoint") == "one:2379,two:2379,three:2379"
    assert "--rdzv-conf" not in command


def test_files_by_which_the_store_is_reached_are_named_and_not_read(make_config, tmp_path):
    coordination = {
        "tls": {"ca": "/pki/ca.pem", "cert": "/pki/own.pem", "key": "/pki/own.key"},
        "user": "run",
        "password_file": str(tmp_path / "password"),
    }
    (tmp_path / "password").write_text("hunter2")
    config = make_config(coordination=coordination, security={"secret_file": "/pki/secret"})
    command = torchrun_command(config, RUN_FILE, "texas", "x")
    said = dict(one.split("=") for one in str(of(command, "--rdzv-conf")).split(","))
    assert said == {
        "ca": "/pki/ca.pem",
        "cert": "/pki/own.pem",
        "key": "/pki/own.key",
        "user": "run",
        "password_file": str(tmp_path / "password"),
        "secret_file": "/pki/secret",
    }
    assert "hunter2" not in " ".join(command)


def test_a_file_name_that_torchrun_would_cut_is_refused(make_config):
    config = make_config(security={"secret_file": "/pki/secret,old"})
    with pytest.raises(
        ProvisionError, match=r"secret_file of the run file is '/pki/secret,old'; .* no comma"
    ):
        torchrun_command(config, RUN_FILE, "texas", "x")


def test_each_start_has_a_rendezvous_of_its_own(config):
    assert rendezvous_id(config, "texas", 1) != rendezvous_id(config, "texas", 2)
    assert rendezvous_id(config, "texas", 1).startswith("day.texas.")


@pytest.mark.parametrize("ranks", [1, 2])
def test_torchrun_shares_no_store_with_its_ranks(make_config, ranks):
    config = make_config(sites=site(ranks=ranks))
    assert site_environment(config, "texas", {}, {})[DISABLED] == "1"


def test_the_run_file_comes_before_the_start_and_the_start_before_the_machine(make_config):
    config = make_config(sites=site(environment={"A": "run file"}))
    machine, start = {"A": "machine", "B": "machine", DISABLED: "0"}, {"A": "start", "B": "start"}
    found = site_environment(config, "texas", machine, start)
    assert (found["A"], found["B"], found[DISABLED]) == ("run file", "start", "0")
