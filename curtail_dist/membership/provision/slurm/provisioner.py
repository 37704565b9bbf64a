"""A site's ranks as one job of a Slurm cluster.

The job outlives the agent and is found again by its name. Slurm may end it by itself, at its time limit or
for a job that goes before it: the ranks are told and leave in order, as when the agent tells them.
docs/slurm.md says how, and what the cluster must allow.
"""

import logging
import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from curtail_dist.config import RunConfig
from curtail_dist.errors import ProvisionError
from curtail_dist.membership.provision.keeper import Keeper
from curtail_dist.membership.provision.place import Refused, Seen, Unanswered
from curtail_dist.membership.provision.slurm.commands import (
    ended,
    jobs_named,
    kill,
    outside_a_job,
    submit,
    take_back,
    tell,
)
from curtail_dist.membership.provision.slurm.jobs import Job
from curtail_dist.membership.provision.slurm.script import (
    Command,
    batch_script,
    job_name,
    log_path,
    record_path,
    sbatch_options,
    site_command,
    slurm_section,
)
from curtail_dist.membership.provision.slurm.step import TOLD
from curtail_dist.membership.provision.torchrun import site_environment
from curtail_dist.units import Seconds

log = logging.getLogger(__name__)

_ACCEPT_S: Seconds = 60.0
_RECORD_S: Seconds = 10.0
"""For what the batch script wrote to be seen here: a shared file system may take its time."""
_EARLY_S: Seconds = 90.0
"""How much sooner than asked Slurm tells ranks of their time limit, with room for when it was looked at."""
_KILLED = 137
_NO_RECORD = 1


class SlurmProvisioner(Keeper):
    """Keeps one site's job. It outlives this process, and is found again by its name."""

    def __init__(
        self, config: RunConfig, run_file: Path, site: str, *, command: Command = site_command
    ) -> None:
        """Begin to look for the job; its output will go to `logs/<site>.log` in the run directory.

        `run_file` and the run directory must be found by the same paths on the cluster's machines.
        """
        super().__init__(
            SlurmPlace(config, run_file, site, command),
            site=site,
            poll_s=slurm_section(config, site).poll_s,
            accept_s=_ACCEPT_S,
            stuck_s=math.inf,  # the queue is Slurm's affair; `curtail status` shows what a job waits for
        )


class SlurmPlace:
    """One site's job in Slurm's queue. Owned by one thread."""

    lingers = False
    told_code = 0

    def __init__(
        self,
        config: RunConfig,
        run_file: Path,
        site: str,
        command: Command,
        *,
        record_s: Seconds = _RECORD_S,
    ) -> None:
        """Prepare; Slurm is not asked yet. An ended job's record is waited for `record_s`."""
        self._record_s = record_s
        self._config, self._run_file, self._site, self._command = config, run_file, site, command
        self._own = slurm_section(config, site)
        self._name = job_name(config, site)
        self._job: Job | None = None
        """The job as last seen; None: none was there."""
        self._looked: Seconds | None = None
        """When that was; None: what was seen then need not hold any more."""
        self._left_until: Seconds = math.inf
        """When its time limit is, as far as it is known."""
        self._over_since: Seconds | None = None
        self._begun = False
        self._killed = False
        self._seen = Seen(there=False)

    def look(self) -> Seen:
        """Ask the queue; of a job that waits not more often than the run file has it."""
        waits = self._job is not None and self._job.waits
        if waits and self._looked is not None and time.monotonic() - self._looked < self._own.poll_s:
            return self._seen
        self._seen = self._take(jobs_named(self._name))
        self._looked = time.monotonic()
        return self._seen

    def begin(self, variables: Mapping[str, str]) -> None:
        """Submit a job, unless there is one."""
        if self._alive():
            return
        try:
            script = batch_script(self._config, self._run_file, self._site, self._command)
            log_path(self._config, self._site).parent.mkdir(parents=True, exist_ok=True)
        except (ProvisionError, OSError) as error:
            raise Refused(str(error)) from error
        environment = site_environment(self._config, self._site, outside_a_job(os.environ), variables)
        number = submit(sbatch_options(self._config, self._site), script, environment)
        log.info("site %s: Slurm has taken its ranks as job %d", self._site, number)
        self._follow(Job(number=number, state="PENDING"))

    def end(self) -> None:
        """Have the ranks told to end."""
        for job in self._alive():
            tell(job.number)

    def kill(self) -> None:
        """Have the job killed."""
        for job in self._alive():
            self._killed = True
            kill(job.number)

    def close(self) -> None:
        """Nothing is held."""

    def _alive(self) -> Sequence[Job]:
        self._looked = None
        return [job for job in jobs_named(self._name) if not job.over]

    def _follow(self, job: Job) -> None:
        if self._job is None or job.number != self._job.number:
            self._begun, self._killed, self._left_until = False, False, math.inf
            self._seen = Seen(there=True, waiting=job.told)
        self._job, self._over_since = job, None
        if job.left is not None and not job.waits:
            self._left_until = time.monotonic() + job.left

    def _take(self, jobs: Sequence[Job]) -> Seen:
        """Take in what the queue holds of the site's name."""
        alive = sorted((job for job in jobs if not job.over), key=lambda job: job.number)
        if alive:
            first, *later = alive
            for job in later:  # of a start that raced another: the first one stands
                log.warning("site %s: job %d stands; %d is taken back", self._site, first.number, job.number)
                take_back(job.number)
            return self._see_alive(first)
        if self._job is None:
            return Seen(there=False)
        if self._seen.code is not None:  # it is known how it ended
            return self._seen
        known = self._job
        now = next((job for job in jobs if job.number == known.number), None)
        return self._see_over(known, now or self._of_accounting(known))

    def _of_accounting(self, known: Job) -> Job | None:
        """Ask what became of a job that has left the queue. Raises Unanswered, unless its own record says."""
        try:
            return ended(known.number)
        except Unanswered:
            if self._record(known.number, known.restarts) is None:
                raise
            return None

    def _see_alive(self, job: Job) -> Seen:
        known = self._job
        if known is not None and known.number == job.number and job.state == "COMPLETING":
            # Slurm counts a restart as soon as it is decided, while the ranks of before are still leaving.
            job = replace(job, restarts=known.restarts)
        elif known is not None and known.number == job.number and known.restarts < job.restarts:
            code = self._record(known.number, known.restarts)
            how = "in order" if code == TOLD else f"with code {code}"
            log.warning("site %s: Slurm has put job %d back; its ranks ended %s", self._site, job.number, how)
        self._follow(job)
        self._begun = not job.waits
        if job.waits:
            return Seen(there=True, waiting=job.told)
        # One number stands for all ranks: they come and go with the job, and Slurm tells of no single one.
        return Seen(there=True, ranks=(1000 * job.number + job.restarts,))

    def _see_over(self, known: Job, over: Job | None) -> Seen:
        """Say how the job ended; for a while, until its own record is there, that it runs."""
        self._over_since = self._over_since or time.monotonic()
        restarts = max(known.restarts, 0 if over is None else over.restarts)
        record = self._record(known.number, restarts)
        if record is not None:
            return self._ended(record, known, over)
        never_began = over is not None and over.state == "CANCELLED" and not self._begun
        if not (self._killed or never_began) and time.monotonic() - self._over_since < self._record_s:
            return self._seen
        if never_began:
            return Seen(there=True, code=0, occupies=False, reclaimed="the job was cancelled before it began")
        if self._killed:
            return self._ended(_KILLED, known, over)
        if over is not None and (over.code or over.state == "COMPLETED"):
            return self._ended(over.code, known, over)
        return self._ended(_NO_RECORD, known, over)

    def _ended(self, code: int, known: Job, over: Job | None) -> Seen:
        state = "gone" if over is None else over.state
        if code == TOLD:
            return Seen(there=True, code=0, occupies=False, reclaimed=self._why(state))
        if code and not self._killed:
            hint = "; a longer provisioner.slurm.leave_s lets its ranks leave" if state == "TIMEOUT" else ""
            log.warning("site %s: job %d is %s, its code %d%s", self._site, known.number, state, code, hint)
        return Seen(there=True, code=code, occupies=False)

    def _why(self, state: str) -> str:
        """Say why the ranks were told to end, if it was not by the agent."""
        if state == "PREEMPTED":
            return "Slurm needs the machines for another job"
        near = self._left_until - time.monotonic() < self._own.leave_s + _EARLY_S
        return "time limit" if near else "Slurm was told to end the job"

    def _record(self, number: int, restarts: int) -> int | None:
        """Read what the batch script wrote, if it is there."""
        path = record_path(self._config, self._site, number, restarts)
        try:
            return int(path.read_text())
        except (OSError, ValueError):  # not there yet, or never; the batch script puts it there whole
            return None
