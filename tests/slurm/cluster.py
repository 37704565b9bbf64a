"""A Slurm cluster on loopback: munge, slurmctld and two slurmd from packages, as processes of a test."""

import ctypes
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

PACKAGES = ("munge", "slurmctld", "slurmd", "slurm-client")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol")
POLICY = Path("/usr/sbin/policy-rc.d")
WAIT_S = 30.0
KILL_WAIT_S = 40
_SET_PDEATHSIG = 1
MACHINES = ("one", "two")

CONF = """
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
StateSaveLocation={folder}/controller
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
MailProg=/bin/true
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2
KillWait={kill_wait}
MinJobAge=300
ReturnToService=2
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/none
PartitionName=main Nodes={machines} Default=YES MaxTime=INFINITE State=UP
"""
MACHINE = "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=4 RealMemory=2000"


class Missing(Exception):
    """Why there can be no cluster here."""


def install() -> None:
    """Have the packages' programs here. Raises Missing where that takes root, or apt-get cannot."""
    if os.getuid() != 0:
        raise Missing("Slurm's daemons take root")
    if all(shutil.which(name) for name in PROGRAMS):
        return
    if shutil.which("apt-get") is None:
        raise Missing(f"there is no apt-get to install {', '.join(PACKAGES)} by")
    apt = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=120"]
    with _no_services():
        for command in ([*apt, "update"], [*apt, "install", "-y", "--no-install-recommends", *PACKAGES]):
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=300,
                check=False,
                env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            )
            if done.returncode:
                raise Missing(f"{' '.join(command[:5])} failed: {' '.join(done.stderr.split())[-300:]}")


@contextmanager
def _no_services() -> Iterator[None]:
    """Keep packages that are installed meanwhile from starting services of their own."""
    before = POLICY.read_bytes() if POLICY.exists() else None
    mode = POLICY.stat().st_mode if POLICY.exists() else 0
    POLICY.write_text("#!/bin/sh\nexit 101\n")
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        if before is None:
            POLICY.unlink()
        else:
            POLICY.write_bytes(before)
            POLICY.chmod(mode)


class Cluster:
    """A cluster of two machines with four CPUs each that are this one; SLURM_CONF names it meanwhile."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.conf = folder / "slurm.conf"

    def ask(self, *command: str) -> str:
        """Run one of Slurm's commands; return what it says."""
        done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=False)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout.strip()

    def jobs(self, name: str = "", *, over: bool = False) -> list[tuple[int, str]]:
        """Return numbers and states of the jobs that have not ended, or of all, whose names begin so."""
        states = ["--states=all"] if over else []
        lines = self.ask("squeue", "--noheader", "--format=%i %T %j", *states).splitlines()
        jobs = [line.split(None, 2) for line in lines]
        return [(int(number), state) for number, state, called in jobs if called.startswith(name)]

    def name_of(self, number: int) -> str:
        """Return a job's whole name."""
        return self.ask("squeue", "--noheader", "--format=%j", f"--jobs={number}")

    def empty(self) -> None:
        """Kill what is left of any job and see it gone."""
        steps = self.ask("squeue", "--steps", "--noheader", "--format=%i").split()
        for one in (*steps, *(str(number) for number, _ in self.jobs())):
            how = ["--signal=KILL"] if one in steps else []
            subprocess.run(["scancel", "--quiet", *how, one], timeout=WAIT_S, check=False)
        eventually(lambda: not self.jobs(), KILL_WAIT_S + WAIT_S)


def eventually(holds: Callable[[], object], wait_s: float = WAIT_S) -> None:
    deadline = time.monotonic() + wait_s
    while not holds():
        assert time.monotonic() < deadline, "in vain"
        time.sleep(0.05)


@contextmanager
def running_cluster() -> Iterator[Cluster]:
    """Run a cluster; all of it is gone afterwards."""
    with ExitStack() as stack:
        # munge's socket must lie where everybody may go, below a short path.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="slurm-", dir="/tmp")))
        folder.chmod(0o755)
        cluster = Cluster(folder)
        _write(cluster)
        before = os.environ.get("SLURM_CONF")
        stack.callback(_restore, before)
        os.environ["SLURM_CONF"] = str(cluster.conf)
        own = folder / "munge"
        files = [f"--{name}-file={own / name}" for name in ("key", "pid", "log", "seed")]
        _serve(stack, folder, "munged", "--foreground", "--force", f"--socket={own / 'socket'}", *files)
        eventually((own / "socket").exists)
        _serve(stack, folder, "slurmctld", "-D", "-c")
        for name in MACHINES:
            _serve(stack, folder, "slurmd", "-D", "-c", "-N", name)
        eventually(lambda: _idle(cluster))
        stack.callback(cluster.empty)
        yield cluster


def _idle(cluster: Cluster) -> bool:
    command = ["sinfo", "--noheader", "--Node", "--format=%T"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=False)
    return done.stdout.split() == ["idle"] * len(MACHINES)


def _write(cluster: Cluster) -> None:
    folder, host = cluster.folder, socket.gethostname()
    for name in ("munge", "controller", *MACHINES):
        (folder / name).mkdir()
    key = folder / "munge" / "key"
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o600)
    said = CONF.format(
        host=host, port=_free_port(), folder=folder, kill_wait=KILL_WAIT_S, machines=",".join(MACHINES)
    )
    machines = [MACHINE.format(name=name, host=host, port=_free_port()) for name in MACHINES]
    cluster.conf.write_text("\n".join([*machines, said]))


def _serve(stack: ExitStack, folder: Path, *command: str) -> None:
    with (folder / "output.txt").open("ab") as output:
        server = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=_die_with_the_test,
        )

    def stop() -> None:
        server.terminate()
        try:
            server.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()

    stack.callback(stop)


def _die_with_the_test() -> None:
    """Have the kernel end this process should the test's be killed."""
    ctypes.CDLL(None).prctl(_SET_PDEATHSIG, signal.SIGKILL)


def _restore(before: str | None) -> None:
    if before is None:
        del os.environ["SLURM_CONF"]
    else:
        os.environ["SLURM_CONF"] = before


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
