"""What Slurm is asked for a site, and what the run file may say of it; no Slurm is needed."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from curtail_dist.config import RunConfig
from curtail_dist.config.slurm import SlurmConfig
from curtail_dist.errors import ConfigError, ProvisionError
from curtail_dist.membership.provision.slurm.script import (
    batch_script,
    job_name,
    record_path,
    sbatch_options,
    site_command,
)
from curtail_dist.membership.provision.slurm.step import TOLD

ROOT = Path(__file__).parents[2]
RUN_FILE = Path("/shared/run.yaml")


def options(config: RunConfig) -> list[str]:
    return sbatch_options(config, "texas")


def step(script: str) -> list[str]:
    """The line that starts the ranks, as bash would take it apart."""
    return shlex.split(next(line for line in script.splitlines() if line.strip().startswith("srun ")))


def test_every_key_is_asked_of_sbatch(make_config):
    asked = options(
        make_config(
            ranks=16,
            nodes=2,
            slurm={
                "partition": "gpu",
                "account": "lab",
                "qos": "spare",
                "constraint": "h100&ib",
                "reservation": "night",
                "gpus_per_node": "h100:8",
                "cpus_per_task": 64,
                "memory": "0",
                "time_limit_s": 7_260,
                "leave_s": 300,
                "extra": ["--exclusive"],
            },
        )
    )
    assert {
        "--partition=gpu",
        "--account=lab",
        "--qos=spare",
        "--constraint=h100&ib",
        "--reservation=night",
        "--gpus-per-node=h100:8",
        "--cpus-per-task=64",
        "--mem=0",
        "--time=2:01:00",
        "--signal=TERM@300",
        "--nodes=2",
        "--ntasks-per-node=1",
        "--exclusive",
    } <= set(asked)


def test_what_is_not_given_is_left_to_the_cluster(make_config):
    names = {option.partition("=")[0] for option in options(make_config())}
    assert not names & {"--partition", "--account", "--gpus-per-node", "--cpus-per-task", "--mem", "--time"}


def test_the_job_can_be_found_again_told_and_put_back(make_config, tmp_path):
    asked = options(make_config())
    assert f"--job-name={job_name(make_config(), 'texas')}" in asked
    assert {"--requeue", "--dependency=singleton", "--open-mode=append", f"--comment={tmp_path}"} <= set(
        asked
    )
    assert f"--output={tmp_path}/logs/texas.log" in asked


def test_a_name_holds_nothing_that_slurm_would_take_apart(make_config):
    tree = make_config().to_mapping()
    tree["run"]["name"] = "a,b %j ü"
    assert re.fullmatch(
        r"curtail\.a_b__j__\.texas\.[0-9a-f]{8}", job_name(RunConfig.from_mapping(tree), "texas")
    )


def test_jobs_of_two_runs_of_one_name_have_names_of_their_own(make_config):
    tree = make_config().to_mapping()
    here = job_name(RunConfig.from_mapping(tree), "texas")
    assert here == job_name(RunConfig.from_mapping(tree), "texas")
    tree["run"]["directory"] = "/shared/another"
    assert job_name(RunConfig.from_mapping(tree), "texas") != here


def test_a_percent_sign_in_the_path_is_none_of_slurms_own(make_config):
    tree = make_config().to_mapping()
    tree["run"]["directory"] = "/shared/100%j"
    assert "--output=/shared/100%%j/logs/texas.log" in options(RunConfig.from_mapping(tree))


def test_the_script_is_bash_and_starts_one_torchrun_on_each_machine(make_config):
    config = make_config(ranks=16, nodes=2, slurm={"prologue": "module load cuda", "cpus_per_task": 8})
    script = batch_script(config, RUN_FILE, "texas")
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    words = step(script)
    assert {"--nodes=2", "--ntasks=2", "--cpus-per-task=8"} <= set(words)
    assert words[-len(site_command(config, RUN_FILE, "texas")) :] == site_command(config, RUN_FILE, "texas")
    assert words[words.index("--nproc-per-node") + 1] == "8"
    assert script.index("module load cuda") < script.index("srun --")
    assert "{{" not in script


@pytest.mark.parametrize(
    ("srun", "record", "code"),
    [
        ("exit 0", 0, 0),
        ("exit 3", 3, 3),
        (f"exit {TOLD}", TOLD, 0),
        ("kill -TERM $PPID; exit 0", TOLD, 0),
        ("kill -TERM $PPID; exit 3", 3, 3),
    ],
)
def test_the_script_writes_down_how_the_ranks_ended(make_config, tmp_path, srun, record, code):
    """Ranks of a job that was told to end have left in order, also where srun only says that all is well."""
    tree = make_config().to_mapping()
    tree["run"]["directory"] = str(tmp_path)
    (tmp_path / "logs").mkdir()
    (tmp_path / "srun").write_text(f"#!/bin/bash\n{srun}\n")
    (tmp_path / "srun").chmod(0o755)
    config = RunConfig.from_mapping(tree)
    done = subprocess.run(
        ["bash"],
        input=batch_script(config, RUN_FILE, "texas"),
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "7"},
        text=True,
        check=False,
    )
    assert (int(record_path(config, "texas", 7, 0).read_text()), done.returncode) == (record, code)


def test_a_rank_program_is_started_by_what_lets_it_hear_and_each_start_has_a_name_of_its_own(make_config):
    words = site_command(make_config(), RUN_FILE, "texas")
    name = words[words.index("--rdzv-id") + 1]
    assert "%JOB%" in name
    program = words[words.index("curtail_dist.membership.provision.slurm.rank") - 1 :]
    assert program[0] == "-m"
    assert program[2:] == ["-m", "curtail_launch.train", "--config", str(RUN_FILE), "--site", "texas"]


@pytest.mark.parametrize(("said", "python"), [({}, sys.executable), ({"python": "python3"}, "python3")])
def test_python_is_the_agents_own_unless_it_is_said(make_config, said, python):
    words = step(batch_script(make_config(slurm=said), RUN_FILE, "texas"))
    assert [words[at - 1] for at, word in enumerate(words) if word == "-m"][:2] == [python, python]


def test_a_template_may_hold_what_it_likes_but_unknown_names(make_config, tmp_path):
    own = tmp_path / "own.sbatch"
    config = make_config(slurm={"template": str(own)})
    own.write_text("echo ${HOME}\n{{step}}\n: {{record}}\n")
    assert batch_script(config, RUN_FILE, "texas").startswith("echo ${HOME}\nsrun ")
    own.write_text("{{step}} {{record}} {{steps}}")
    with pytest.raises(ProvisionError, match=r"\{\{steps\}\} stands in .*own.sbatch; it may hold prologue, "):
        batch_script(config, RUN_FILE, "texas")
    own.write_text("{{step}}")
    with pytest.raises(ProvisionError, match=r"own.sbatch lacks \{\{record\}\}; begin with site.sbatch"):
        batch_script(config, RUN_FILE, "texas")
    own.unlink()
    with pytest.raises(ProvisionError, match=r"own.sbatch, which cannot be read \(No such file"):
        batch_script(config, RUN_FILE, "texas")


def test_what_is_filled_in_is_not_filled_in_again(make_config):
    script = batch_script(make_config(slurm={"prologue": "echo '{{step}}'"}), RUN_FILE, "texas")
    assert "echo '{{step}}'" in script


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"cpus_per_task": 0}, "slurm.cpus_per_task is 0; it must be at least 1"),
        ({"leave_s": 0.0}, "slurm.leave_s is 0.0; it must be at least 1"),
        ({"poll_s": 0.0}, "slurm.poll_s is 0.0; it must be above 0"),
        ({"time_limit_s": 120.0}, "time_limit_s is 120.0; it must be above provisioner.slurm.leave_s, 180"),
        ({"time_limit_s": 30.0, "leave_s": 10.0}, "time_limit_s is 30.0; .* at least 60"),
        ({"extra": ["exclusive"]}, "slurm.extra is 'exclusive'; it must be an option of sbatch"),
        ({"extra": ["--signal=USR1"]}, "slurm.extra is '--signal=USR1'; it must be left out"),
        ({"extra": ["--clusters=other"]}, "slurm.extra is '--clusters=other'; it must be left out"),
    ],
)
def test_a_wrong_value_is_told(said, told):
    with pytest.raises(ConfigError, match=told):
        SlurmConfig(**said)


def test_the_run_file_that_is_shipped_can_be_read_and_asked_for():
    config = RunConfig.from_yaml(ROOT / "launch" / "slurm" / "run.yaml")
    asked = sbatch_options(config, "california")
    assert {"--gpus-per-node=8", "--nodes=1", "--time=12:00:00"} <= set(asked)
    script = batch_script(config, RUN_FILE, "california")
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    assert step(script)[step(script).index("--nproc-per-node") + 1] == "8"


def test_the_document_names_every_key_of_the_section():
    text = (ROOT / "docs" / "slurm.md").read_text()
    assert set(SlurmConfig.__dataclass_fields__) <= set(re.findall(r"`(\w+)`", text))
