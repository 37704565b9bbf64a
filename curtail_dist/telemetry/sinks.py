"""Where events go besides the run directory. Sinks are fed records; nothing reads them back.

Each site's agent follows its own event files and feeds what is new, so that a sink that hangs or fails cannot
disturb training.
"""

import importlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from curtail_dist.telemetry.record import Record
from curtail_dist.units import hours

_FIELDS = {
    "step": ("loss", "tokens"),
    "commit": ("version", "tokens", "rows", "bytes_sent", "stall_s"),
    "evaluated": ("val_bpb", "version"),
    "throughput": ("tokens_per_s", "mfu"),
    "reading": ("g_per_kwh",),
    "round_discarded": ("steps", "rows"),
}


class Sink(Protocol):
    """Takes records of one site in the order they were written."""

    def write(self, record: Record) -> None:
        """Take one record."""
        ...

    def caught_up(self) -> None:
        """Note that all that was on disk has been written, for a sink that shows only what is whole."""
        ...

    def close(self) -> None:
        """Flush and end; idempotent."""
        ...


def metrics(record: Record) -> dict[str, float]:
    """Return the figures of a record as `<event>/<field>`, beside its run time in hours, or nothing."""
    named = _FIELDS.get(record.event, ())
    found = {f"{record.event}/{name}": float(record[name]) for name in named if record[name] is not None}
    return {**found, "run_h": hours(record.t)} if found else {}


class WandbSink:
    """Logs one site to Weights & Biases: one wandb run a site, one group a run; offline without a key.

    wandb is imported here and nowhere else, when the first sink is made. Owns the wandb run until `close`.
    """

    def __init__(self, *, run: str, site: str, directory: Path, config: Mapping[str, Any]) -> None:
        """Begin the site's wandb run, kept below `directory`/wandb."""
        # By name, since the control plane's import contract forbids the static import.
        wandb: Any = importlib.import_module("wandb")
        self._run: Any = wandb.init(
            project="curtail",
            group=run,
            name=f"{run}.{site}",
            dir=directory,
            config=dict(config),
            mode="online" if wandb.login(prompt=False) else "offline",
            settings=wandb.Settings(silent=True),
        )
        self._run.define_metric("*", step_metric="run_h")

    def write(self, record: Record) -> None:
        """Log the figures of a record."""
        figures = metrics(record)
        if figures and self._run is not None:
            self._run.log(figures)

    def caught_up(self) -> None:
        """Do nothing: each record is logged as it comes."""

    def close(self) -> None:
        """Finish the wandb run; idempotent."""
        if self._run is not None:
            self._run.finish()
            self._run = None


def feed(records: Iterable[Record], sink: Sink, *, site: str) -> None:
    """Hand the site's own records to its sink; `records` is all that is new."""
    for record in records:
        if record.site == site:
            sink.write(record)
    sink.caught_up()
