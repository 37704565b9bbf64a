"""What the run file says of a site whose ranks are started and stopped by commands of the user's own."""

from dataclasses import dataclass

from curtail_dist.config.sections import require
from curtail_dist.units import Seconds


@dataclass(frozen=True, kw_only=True)
class CommandConfig:
    """Three commands, each a list of arguments.

    What they are told and answer stands in membership/provision/command.py; launch/command has an example.
    """

    start: tuple[str, ...]
    """Has the ranks started, and ends without waiting for them; exit code 0: they were."""
    stop: tuple[str, ...]
    """Has the ranks end: in order, or with CURTAIL_FORCE=1 at once. Where none run it does nothing."""
    poll: tuple[str, ...]
    """Says by its exit code what has become of them: 0 they run, 3 they wait, 4 they were reclaimed, 1 with
    the line `ended` or `ended CODE` none run."""
    lingers: bool = False
    """Whether what was started stays when its ranks have left the run (a machine that was switched on, say):
    the agent then has it stopped."""
    every_s: Seconds = 2.0
    """Real time between two polls."""
    start_s: Seconds = 300.0
    """Real time that the start command may take."""
    stop_s: Seconds = 60.0
    """Real time that the stop command may take."""
    poll_s: Seconds = 30.0
    """Real time that the poll command may take."""

    def __post_init__(self) -> None:
        for name in ("start", "stop", "poll"):
            argv = getattr(self, name)
            must = "a list: a program and its arguments"
            require(bool(argv) and bool(argv[0]), f"provisioner.command.{name}", list(argv), must)
        for name in ("every_s", "start_s", "stop_s", "poll_s"):
            value = getattr(self, name)
            require(value > 0, f"provisioner.command.{name}", value, "above 0")
