"""A site's ranks by commands of the user's own: a cloud's command line, a power switch, anything else.

Three commands are run with what they need to know in their environment:

    CURTAIL_RUN  CURTAIL_SITE  CURTAIL_RUN_FILE  CURTAIL_DIRECTORY    whom it is about
    CURTAIL_TORCHRUN    start: the command line, quoted for a shell, that starts the ranks of one machine
    CURTAIL_PYTHON      the Python that this process runs on
    CURTAIL_FORCE       stop: 1 where the ranks are to be killed, else 0

`start` ends with 0 when the ranks have been started, or are on their way, and does not wait for them; with
another code none were. `stop` has them end in order, or kills them. `poll` ends with

    0   they run
    3   they are on their way; its last line says what for
    1   none run; its last line is `ended`, or `ended CODE` with their exit code, 0 being an end in order
    4   who owns the machine has taken it back, and they ended in order; its last line says why

and anything else says that it does not know: 1 without that line, too, since many a command that fails ends
with 1. No two of a site's commands run at once, and before each start it is asked whether any run.
"""

import logging
import math
import os
import re
import shlex
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from curtail_dist.config import RunConfig
from curtail_dist.errors import ProvisionError
from curtail_dist.membership.provision.errand import Outcome, run_errand
from curtail_dist.membership.provision.provisioner import RanksState
from curtail_dist.membership.provision.torchrun import rendezvous_id, site_environment, torchrun_command
from curtail_dist.units import Seconds

log = logging.getLogger(__name__)

_RUN, _NONE, _WAIT, _RECLAIMED = 0, 1, 3, 4
_ENDED = re.compile(r"ended( (?P<code>\d{1,3}))?")
_KILLED = 137
_BLIND_LOOKS = 3
"""Looks in a row that say nothing, after which what was seen before them is no longer believed."""
_FIRST_S: Seconds = 1.0
_CLOSE_S: Seconds = 10.0


@dataclass(frozen=True, kw_only=True)
class _Errand:
    name: Literal["start", "stop", "poll"]
    given: Mapping[str, str]


class CommandProvisioner:
    """Owns a thread that runs the commands, until `close`; the ranks may outlive this process."""

    def __init__(self, config: RunConfig, run_file: Path, site: str) -> None:
        """Begin to look, in a thread, for what runs already; output goes to `logs/<site>.log`."""
        commands = config.site(site).provisioner.command
        assert commands is not None, "checked where the run file is read"
        self._config, self._run_file, self._site, self._commands = config, run_file, site, commands
        self._log = config.run.directory / "logs" / f"{site}.log"
        self._changed = threading.Condition()
        self._state: RanksState | None = None
        """As last seen; None: not known."""
        self._trouble = "the poll command has not ended yet"
        self._blind = 0
        """Looks in a row that said nothing."""
        self._starting: Mapping[str, str] | None = None
        """What a start that has not begun will add to the environment."""
        self._clear = False
        """Whether it has been seen since it was ordered that none run."""
        self._unsure = False
        """Whether it was not known, when it was ordered, whether any run."""
        self._stopping: Literal["", "stop", "kill"] = ""
        """How those that run are to be told to end next."""
        self._told: Literal["", "stop", "kill"] = ""
        """How they have been told to end."""
        self._failed: RanksState | None = None
        """How the newest start failed, if it did."""
        self._ran = False
        """Whether ranks have been seen or started: what was before has no code."""
        self._unwanted = threading.Event()
        """Set where nobody wants the start that is under way any more."""
        self._starts, self._look_at, self._kill_at, self._closing = 0, 0.0, 0.0, False
        self._last = ""
        """The command that was run last."""
        self._thread = threading.Thread(target=self._run, name=f"command-{site}", daemon=True)
        self._thread.start()

    def start(self, variables: Mapping[str, str] | None = None) -> None:
        """Have the start command run, unless ranks run."""
        with self._changed:
            if self._closing:
                raise ProvisionError(
                    f"the ranks of {self._site} cannot be started: their provisioner is closed"
                )
            if self._state is not None and self._state.running:
                return
            self._starts += 1
            name = rendezvous_id(self._config, self._site, self._starts)
            torchrun = torchrun_command(self._config, self._run_file, self._site, name)
            self._starting = {**(variables or {}), "CURTAIL_TORCHRUN": shlex.join(torchrun)}
            self._clear, self._failed, self._stopping, self._told = False, None, "", ""
            self._unsure = self._state is None
            self._state, self._look_at = self._runs(""), 0.0
            self._changed.notify_all()

    def poll(self) -> RanksState:
        """Return what the last look saw; wait a moment for the first."""
        with self._changed:
            self._changed.wait_for(lambda: self._state is not None or self._last != "", _FIRST_S)
            if self._state is None:
                raise ProvisionError(f"it is not known whether ranks of {self._site} run: {self._trouble}")
            return self._state

    def terminate(self) -> None:
        """Have the stop command run, after a start that is under way; once."""
        self._stop("stop")

    def kill(self) -> None:
        """Break a start off; have the stop command run with CURTAIL_FORCE=1, again where that was in vain."""
        self._stop("kill")

    def close(self) -> None:
        """Kill what runs, wait for it, and join the thread."""
        self._stop("kill")
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(self._commands.stop_s + 2 * self._commands.poll_s + 2 * _CLOSE_S)
        if self._thread.is_alive() or self._state is None or self._state.running:
            known = "the poll command says so" if self._state is not None else self._trouble
            raise ProvisionError(
                f"the ranks of {self._site} outlive the stop command with CURTAIL_FORCE=1 ({known}); look at "
                f"{self._log}, and stop them by hand"
            )

    def _stop(self, how: Literal["stop", "kill"]) -> None:
        with self._changed:
            if self._starting is not None:  # it never begins
                self._starting = None
                if not self._unsure:
                    self._state = RanksState(running=False, code=_KILLED if how == "kill" else 0)
            if self._state is None or not self._state.running or (how == "stop" and self._told):
                return
            if self._told == "kill" and time.monotonic() < self._kill_at:
                return
            self._told = self._stopping = how
            if how == "kill":
                self._unwanted.set()
            self._changed.notify_all()

    def _run(self) -> None:
        """Run one command after the other; after `close` until nothing runs, or nobody waits for it."""
        deadline: Seconds | None = None
        while True:
            with self._changed:
                self._changed.wait_for(self._due, max(0.0, self._look_at - time.monotonic()))
                if self._closing:
                    deadline = deadline or time.monotonic() + self._commands.stop_s + _CLOSE_S
                    if (self._state is not None and not self._state.running) or time.monotonic() > deadline:
                        return
                errand = self._next()
            outcome = self._do(errand)
            with self._changed:
                self._last = errand.name
                takes = {"start": self._started, "stop": self._stopped, "poll": self._looked}
                takes[errand.name](outcome)
                self._changed.notify_all()

    def _due(self) -> bool:
        ended = self._state is not None and not self._state.running
        return bool(self._stopping or self._starting or (self._closing and ended))

    def _next(self) -> _Errand:
        """Say what to do now, which is due: the lock is held."""
        if self._stopping or (self._closing and self._last == "poll"):
            force = "0" if self._stopping == "stop" else "1"
            self._stopping, self._kill_at = "", math.inf
            return _Errand(name="stop", given={"CURTAIL_FORCE": force})
        if self._starting is not None and self._clear:
            given, self._starting = self._starting, None
            self._ran = True
            self._unwanted.clear()
            return _Errand(name="start", given=given)
        return _Errand(name="poll", given={})

    def _do(self, errand: _Errand) -> Outcome:
        told = {
            "CURTAIL_RUN": self._config.run.name,
            "CURTAIL_SITE": self._site,
            "CURTAIL_RUN_FILE": str(self._run_file),
            "CURTAIL_DIRECTORY": str(self._config.run.directory),
            "CURTAIL_PYTHON": sys.executable,
        }
        environment = site_environment(self._config, self._site, os.environ, {**told, **errand.given})
        commands = self._commands
        if errand.name == "poll":
            return run_errand(commands.poll, environment, limit=commands.poll_s)
        if errand.name == "stop":
            return run_errand(commands.stop, environment, limit=commands.stop_s, log=self._log)
        return run_errand(
            commands.start, environment, limit=commands.start_s, log=self._log, unwanted=self._unwanted
        )

    def _started(self, outcome: Outcome) -> None:
        self._look_at = 0.0
        if outcome.code:
            log.warning("site %s: %s", self._site, outcome.told("start"))
            self._failed = RanksState(running=False, code=outcome.code, failure=outcome.told("start"))

    def _stopped(self, outcome: Outcome) -> None:
        self._look_at, self._kill_at = 0.0, time.monotonic() + self._commands.every_s
        if outcome.code:
            log.warning("site %s: %s", self._site, outcome.told("stop"))

    def _looked(self, outcome: Outcome) -> None:
        self._look_at = time.monotonic() + self._commands.every_s
        told_ended = _ENDED.fullmatch(outcome.said)
        knows = outcome.code in (_RUN, _WAIT, _RECLAIMED) or (outcome.code == _NONE and told_ended)
        if outcome.late or not knows:
            self._look_in_vain(outcome)
            return
        self._blind = 0
        if outcome.code in (_RUN, _WAIT):
            why = outcome.said or "the poll command says that they are on their way"
            if self._state is None or not self._state.running:  # somebody else has started them
                self._told = ""
            self._state = self._runs(why if outcome.code == _WAIT else "")
            self._starting, self._failed, self._ran = None, None, True
        elif self._starting is not None:
            self._clear = True
        else:
            self._stopping = ""
            self._state = self._ended(outcome, told_ended and told_ended["code"])

    def _ended(self, outcome: Outcome, code: str | None) -> RanksState:
        """Return the state of a site of which no rank runs (any more)."""
        before = self._state
        if before is not None and not before.running:
            return before
        if not self._ran:
            return RanksState(running=False)
        if self._failed is not None:
            return self._failed
        if outcome.code == _RECLAIMED:
            return RanksState(running=False, code=0, reclaimed=outcome.said or "the machine was taken back")
        untold = {"kill": _KILLED, "stop": 0}.get(self._told, 1)
        return RanksState(running=False, code=int(code) if code else untold)

    def _look_in_vain(self, outcome: Outcome) -> None:
        self._blind += 1
        self._trouble = outcome.told("poll")
        if self._blind == 1:
            log.warning("site %s: %s", self._site, self._trouble)
        if self._blind < _BLIND_LOOKS:
            return
        if self._starting is not None:
            self._starting = None
            self._state = RanksState(running=False, code=1, failure=self._trouble)
        else:
            self._state = None

    def _runs(self, waiting: str) -> RanksState:
        return RanksState(running=True, waiting=waiting, lingers=self._commands.lingers)
