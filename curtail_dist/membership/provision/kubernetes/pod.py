"""What a pod of a site runs: one torchrun, once, and how its ranks are asked to leave.

    python -m curtail_dist.membership.provision.kubernetes.pod run --config RUN.yaml --site NAME --once DIR
    python -m curtail_dist.membership.provision.kubernetes.pod leave --once DIR --within SECONDS

The first is the container's command, the second its preStop hook. A kubelet starts a container again when it
has ended, in order or not; but when ranks are started is for the site's agent to say. So DIR, a directory
that lives as long as the pod does, remembers that they were, and the second container only waits to be taken
away.
"""

import argparse
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

from curtail_dist.config import RunConfig
from curtail_dist.errors import CurtailError, ProvisionError
from curtail_dist.membership.provision.kubernetes.start import POD_VARIABLE, START_VARIABLE, Start, read_start
from curtail_dist.membership.provision.processes import descendants, ranks_below
from curtail_dist.membership.provision.torchrun import compile_caches, site_environment, torchrun_command
from curtail_dist.units import Seconds

_LEASH = "curtail_dist.membership.provision.leash"
_LOOK_S = 0.1
_BEGUN = "begun"
"""File that holds the launcher's process id."""
_WRONG = 2


def main(argv: Sequence[str]) -> int:
    """Do what the container, or its hook, is for."""
    parser = argparse.ArgumentParser(
        prog="kubernetes.pod", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parts = parser.add_subparsers(dest="part", required=True)
    run = parts.add_parser("run", help="run the site's torchrun, once")
    run.add_argument("--config", type=Path, required=True, help="the run file")
    run.add_argument("--site", required=True, help="whose ranks")
    leave = parts.add_parser("leave", help="have the ranks leave the run, and wait until they have")
    leave.add_argument("--within", type=float, required=True, help="for at most so many seconds")
    for part in (run, leave):
        part.add_argument("--once", type=Path, required=True, help="a directory of the pod's own")
    args = parser.parse_args(argv)
    if args.part == "leave":
        return ask_to_leave(args.once, args.within)
    signal.signal(signal.SIGTERM, _stop)  # the first process of a container does not end by it of itself
    try:
        if begins(args.once):
            become_launcher(args.config, args.site)
    except CurtailError as error:
        sys.stderr.write(f"{error}\n")
        return _WRONG
    sys.stderr.write(f"the ranks of {args.site} in this pod have ended; it waits to be taken away\n")
    sys.stderr.flush()
    while True:
        signal.pause()


def begins(once: Path) -> bool:
    """Note that this pod has had its launcher, which this process will become; say whether it had none yet.

    Raises ProvisionError where that cannot be noted.
    """
    try:
        with (once / _BEGUN).open("x") as file:
            file.write(str(os.getpid()))
    except FileExistsError:
        return False
    except OSError as error:
        raise ProvisionError(
            f"{once} cannot be written ({error.strerror}); mount an emptyDir there"
        ) from error
    return True


def become_launcher(run_file: Path, site: str) -> NoReturn:
    """Become the site's torchrun, below a leash. Raises ConfigError, ProvisionError."""
    config = RunConfig.from_yaml(run_file)
    try:
        start = read_start(os.environ.get(START_VARIABLE, ""))
    except (ValueError, KeyError, AttributeError) as error:
        raise ProvisionError(
            f"{START_VARIABLE} is no start ({error}); it must be the pod's annotation"
        ) from error
    command = torchrun_command(config, run_file, site, rendezvous_of(config, site, start, os.environ))
    environment = site_environment(config, site, os.environ, start.variables)
    for variable in compile_caches(config, site):
        Path(environment[variable]).mkdir(parents=True, exist_ok=True)
    leash = [sys.executable, "-m", _LEASH, str(os.getppid()), "", *command]
    os.execve(sys.executable, leash, environment)


def rendezvous_of(config: RunConfig, site: str, start: Start, machine: Mapping[str, str]) -> str:
    """Return the name of the rendezvous at which the launchers of a site's pods meet.

    A finished rendezvous stays closed. So a pod that stands for the site alone has one of its own, as another
    may come in its place; several have that of their start. Raises ProvisionError where neither is known.
    """
    nodes, pod = config.site(site).provisioner.nodes, machine.get(POD_VARIABLE, "")
    own = pod if nodes == 1 else start.id
    if not own:
        variable, source = (
            (POD_VARIABLE, "metadata.uid") if nodes == 1 else (START_VARIABLE, "the start's annotation")
        )
        raise ProvisionError(f"{variable} is empty; the pod's manifest must set it from {source}")
    return f"{config.run.name}.{site}.{own}"


def ask_to_leave(once: Path, within: Seconds) -> int:
    """Ask the ranks, not their launcher, which gives them little time; wait until all have ended.

    A rank that comes after that was started in place of one that died of the word, too young to take it, or
    by a launcher that had no ranks yet: nothing is lost with it, and the launcher is told to end. Returns 0
    when all have ended, or none ran, 1 when time was up.
    """
    try:
        launcher = int((once / _BEGUN).read_text())
    except (OSError, ValueError):
        return 0
    asked = set(ranks_below(launcher))
    for rank in asked:
        _tell(rank)
    deadline, ends = time.monotonic() + within, False
    while descendants(launcher):
        if time.monotonic() > deadline:
            return 1
        if not ends and not asked.issuperset(ranks_below(launcher)):
            _tell(launcher)
            ends = True
        time.sleep(_LOOK_S)
    return 0


def _tell(process: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGTERM)


def _stop(number: int, frame: FrameType | None) -> None:
    os._exit(128 + number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
