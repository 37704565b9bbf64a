"""How ranks that are to leave are pressed: asked, after a while told to end, and in the end killed."""

import logging
import time
from dataclasses import dataclass, field
from typing import Self

from curtail_dist.errors import ProvisionError
from curtail_dist.membership.provision import Provisioner
from curtail_dist.units import Seconds

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Real time that the agent allows to what it waits for."""

    drain_s: Seconds = 900.0
    """For ranks to finish their round and leave, before they are stopped."""
    interrupted_s: Seconds = 60.0
    """The same after SIGTERM or Ctrl-C."""
    stop_s: Seconds = 35.0
    """At least between SIGTERM and SIGKILL to the ranks; torchrun takes 30 of it."""
    kill_s: Seconds = 10.0
    """After SIGKILL, for them to be gone."""
    unclear_s: Seconds = 10.0
    """For the launcher to restart a rank that died."""
    settle_s: Seconds = 2.0
    """For the store to tell that the run is complete, after ranks have ended in order."""
    lapse_s: Seconds = 20.0
    """For the store to forget an earlier agent of the site that has died: longer than `liaison.TTL_S`."""


@dataclass(kw_only=True)
class Leaving:
    """How far ranks that are to leave have been pressed. Times are real."""

    reason: str = ""
    """What stands in the request to them; empty: they leave by themselves, the run being complete."""
    after_commit: bool = False
    began: Seconds = field(default_factory=time.monotonic)
    early: bool = False
    """Whether they were stopped before they came: then any end is one in order."""
    left: bool = False
    """Whether they have left by themselves, and only what held them is stopped: then too."""
    stopped_at: Seconds | None = None
    """When they were told to end (SIGTERM)."""
    killed_at: Seconds | None = None
    """When they were killed first."""
    in_vain: bool = False
    """Whether they were still there when all the time was over that they could be given."""
    grace_s: Seconds = 0.0
    """How long who holds them gives them to end from then on; they are not killed before."""
    useless: bool = False
    """Whether they are killed without being told."""

    @property
    def in_order(self) -> bool:
        """Whether any end of what still runs is one in order."""
        return self.early or self.left

    @classmethod
    def at_once(cls, *, early: bool = False) -> Self:
        """Begin where the grace after SIGTERM is over: for ranks that are of no use."""
        return cls(stopped_at=time.monotonic(), useless=True, early=early)

    @property
    def stopped(self) -> bool:
        """Whether they were told to end."""
        return self.stopped_at is not None

    def stop(self, provisioner: Provisioner) -> None:
        """Tell them to end."""
        provisioner.terminate()
        self.stopped_at = time.monotonic()

    def press(self, provisioner: Provisioner, limits: Limits, *, site: str, told: int) -> None:
        """Stop ranks that have not left in time, in two steps; at once where the agent was told twice.

        Raises ProvisionError where they outlive a SIGKILL; it is sent again by the next call.
        """
        now, limit = time.monotonic(), limits.interrupted_s if told else limits.drain_s
        if self.stopped_at is None and (told > 1 or now - self.began > limit):
            log.warning("site %s: the ranks have not left in time and are stopped", site)
            self.stop(provisioner)
        if self.stopped_at is None:
            return
        grace = 0.0 if told > 1 or self.useless else max(limits.stop_s, self.grace_s)
        if now - self.stopped_at >= grace:
            self.killed_at = now if self.killed_at is None else self.killed_at
            provisioner.kill()
            if now - self.killed_at > limits.kill_s:
                self.in_vain = True
                raise ProvisionError(f"the ranks of {site} outlive SIGKILL; look for a device that hangs")
