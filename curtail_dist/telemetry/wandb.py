"""Logs sites to Weights & Biases: one wandb run a site, one group a run; offline without a key.

wandb is imported here and nowhere else, when the first sink is made. That should be in a process of its own:
its library starts a service, and a process that has used it waits for that when it ends.
"""

import importlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curtail_dist.telemetry.curves import OVER, REAL_H, RUN_H, TOKENS, Curves
from curtail_dist.telemetry.numbering import Numbering
from curtail_dist.telemetry.record import Record
from curtail_dist.telemetry.wandbfiles import newest_step
from curtail_dist.units import Seconds

_LOG = logging.getLogger(__name__)
PROJECT = "curtail"
INIT_S: Seconds = 15.0
"""Real time in which wandb's server must have taken a run, or the runs are kept on this disk alone."""
FINISH_S: Seconds = 8.0
"""Real time that what has not been sent may still take at the end; it stays on this disk, too."""


@dataclass(frozen=True, kw_only=True)
class Common:
    """What the wandb runs of a run's sites have in common."""

    run: str
    """The run's name, which is their group."""
    directory: Path
    """The run directory; they are kept below its `wandb`."""
    config: Mapping[str, Any]
    """What wandb shows as their configuration."""
    curves: Callable[[], Curves]
    """Makes the curves of a site, before its first record."""
    init_s: Seconds = INIT_S
    finish_s: Seconds = FINISH_S


class WandbSink:
    """Logs one site's curves. Owns its wandb run until `close`.

    Every record has a number, which is the step of its point. A sink of a later process, for the same
    directory, goes on with the same wandb run, after the newest step that this has.
    """

    def __init__(self, wandb: Any, site: str, common: Common, *, offline: str) -> None:
        """Begin the site's wandb run, or go on with it.

        `offline` says why it is to be kept on this disk alone; empty: as wandb's own settings say. Raises
        wandb's Error where its server does not take the run within `init_s`.
        """
        self._numbering = Numbering(common.directory / "wandb" / f"{site}.numbers.jsonl")
        self._curves = common.curves()
        self._records: list[Record] = []
        kept = newest_step(common.directory, self._numbering.id)
        self._run: Any = wandb.init(
            project=PROJECT,
            group=common.run,
            name=f"{common.run}.{site}",
            id=self._numbering.id,
            dir=common.directory,
            config=dict(common.config),
            mode="offline" if offline else None,
            resume="allow",
            reinit="create_new",
            settings=wandb.Settings(
                silent=True,
                console="off",
                disable_git=True,
                init_timeout=common.init_s,
                finish_timeout=common.finish_s,
            ),
        )
        for axis in (TOKENS, RUN_H, REAL_H):
            self._run.define_metric(axis)
        for group, axis in OVER.items():
            self._run.define_metric(f"{group}/*", step_metric=axis)
        self._next = kept + 1 if self._run.offline else int(self._run.starting_step)
        if not self._run.offline:
            _LOG.info("site %s: wandb shows it at %s", site, self._run.url)
            return
        _LOG.info(
            "site %s: %s; its curves are written to %s; %s sends them, or an agent that is started while "
            "wandb's server answers",
            *(site, offline or "wandb is set to be offline", self._run.settings.sync_dir),
            f"wandb sync {common.directory / 'wandb' / f'offline-run-*-{self._numbering.id}'}",
        )

    def write(self, record: Record) -> None:
        """Take a record, to be logged with those that come with it."""
        self._records.append(record)

    def caught_up(self) -> None:
        """Log the points of what was taken, each with its record's number, but for those that wandb has."""
        records, self._records = self._records, []
        for number, record in self._numbering.numbered(records):
            point = self._curves.point(record)
            if point and number >= self._next:
                self._run.log({**point, "_timestamp": record.wall.timestamp()}, step=number)

    def cut_off(self) -> None:
        """Do nothing: points stay true."""

    def close(self) -> None:
        """Finish the wandb run, within `finish_s` or so; idempotent."""
        self._run.finish()


def open_sinks(sites: Sequence[str], common: Common) -> list[WandbSink]:
    """Begin the wandb runs of sites: offline where there is no key, or no answer from wandb's server.

    Where they lie then, and how to send them, is a line in the log.
    """
    # By name, since the control plane's import contract forbids the static import.
    wandb: Any = importlib.import_module("wandb")
    wandb.setup(settings=wandb.Settings(silent=True))

    def begin(offline: str = "") -> list[WandbSink]:
        return [WandbSink(wandb, site, common, offline=offline) for site in sites]

    if not wandb.login(prompt=False, verify=False):
        return begin("wandb has no key")
    try:
        return begin()
    except (wandb.Error, TimeoutError) as error:
        wandb.teardown()  # else its service holds the run that it did not begin
        return begin(f"wandb's server did not take the run ({' '.join(str(error).split())})")
