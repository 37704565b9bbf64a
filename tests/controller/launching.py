"""Real processes in place of torchrun and its ranks: small, quick to start, ended from outside."""

import json
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path

from provision_contract import Subject

from curtail_dist.config import RunConfig
from curtail_dist.membership.provision import ProcessProvisioner, Provisioner

WAIT_S = 20.0
LOCAL = Path(__file__).parents[2] / "launch" / "command" / "local.sh"

LAUNCHER = """
import os, signal, subprocess, sys
rank = subprocess.Popen(
    [sys.executable, "-S", "-c", {rank!r}], env={{**os.environ, "LOCAL_RANK": "0"}}, start_new_session=True
)
if {tells}: signal.signal(signal.SIGTERM, lambda *_: rank.terminate())
else: signal.signal(signal.SIGTERM, signal.SIG_IGN)
code = rank.wait()
os._exit(code if code >= 0 else 128 - code)  # as it ends, Python would take another SIGTERM's default
"""

RANK = """
import json, os, signal, time
from pathlib import Path
folder = Path({folder!r})
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
(folder / "leave").unlink(missing_ok=True)
(folder / "said.part").write_text(json.dumps(dict(os.environ)))
(folder / "said.part").rename(folder / "said.json")
with (folder / "starts").open("a") as starts: starts.write("x")
while not (folder / "leave").exists(): time.sleep(0.01)
os._exit(int((folder / "leave").read_text()))
"""


def launcher(folder: Path, *, tells: bool = True) -> list[str]:
    """Return what stands for torchrun: it starts one rank, which notes that in `folder`."""
    script = LAUNCHER.format(rank=RANK.format(folder=str(folder)), tells=tells)
    return [sys.executable, "-S", "-c", script]


def eventually(holds: Callable[[], bool], wait_s: float = WAIT_S) -> None:
    deadline = time.monotonic() + wait_s
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


def process(
    config: RunConfig, folder: Path, *, site: str = "texas", tells: bool = True
) -> ProcessProvisioner:
    command = launcher(folder, tells=tells)
    return ProcessProvisioner(config, folder / "run.yaml", site, command=lambda *_: command)


def commanded(folder: Path) -> dict[str, object]:
    """Return a site that the shipped script starts, with the launcher above in torchrun's place."""
    script = ["env", f"CURTAIL_TORCHRUN={shlex.join(launcher(folder))}", str(LOCAL)]
    command = {name: [*script, name] for name in ("start", "stop", "poll")}
    return {
        "signal": {"kind": "constant", "value": 1.0},
        "power": {"train_w": 1.0, "idle_w": 1.0},
        "provisioner": {"kind": "command", "command": {**command, "every_s": 0.05}},
    }


def in_the_way(lock: Path) -> None:
    """Put a directory where the script has its lock."""
    lock.unlink()
    lock.mkdir()


def on_disk(provisioner: Provisioner, folder: Path) -> Subject:
    """Return the subject whose ranks note in `folder` that they have started."""

    def starts() -> int:
        return len((folder / "starts").read_text()) if (folder / "starts").exists() else 0

    def finish(code: int) -> None:
        (folder / "leave.part").write_text(str(code))
        (folder / "leave.part").rename(folder / "leave")

    return Subject(
        provisioner=provisioner,
        finish=finish,
        starts=starts,
        refuse=lambda: (folder / "logs").write_text("in the way") and None,
        said=lambda name: json.loads((folder / "said.json").read_text()).get(name),
    )
