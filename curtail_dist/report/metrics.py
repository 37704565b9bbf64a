"""A site's events as metrics: what each is called, which event moves it, and how Prometheus gets them.

Event files are the record, so that counters go on where they stood when an agent is started again. What is
not known is not told: no 0 stands for an intensity without a reading, or for the loss of a site that is off.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from curtail_dist.energy.emissions import PHASES
from curtail_dist.energy.stages import Stage
from curtail_dist.report.energycounter import EnergyCounter
from curtail_dist.report.feeder import Feeder
from curtail_dist.telemetry.prometheus import MetricsEndpoint
from curtail_dist.telemetry.record import Record

if TYPE_CHECKING:
    from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

LABELS = ("run", "site")
"""Labels of every metric."""


@dataclass(frozen=True, kw_only=True)
class Described:
    """A metric's help, and its label besides LABELS, if it has one."""

    help: str
    label: str = ""


COUNTERS: Mapping[str, Described] = {
    "curtail_tokens_total": Described(help="Tokens stepped, those of discarded rounds too."),
    "curtail_inner_steps_total": Described(help="Inner steps done, those of discarded rounds too."),
    "curtail_discarded_steps_total": Described(
        help="Inner steps that the living site threw away; those of a killed one are not among them."
    ),
    "curtail_rounds_total": Described(help="Versions that the site swapped to."),
    "curtail_stall_seconds_total": Described(help="Real time from a round's last inner step to the swap."),
    "curtail_bytes_sent_total": Described(help="Bytes sent to other sites: cards, votes, pseudo-gradients."),
    "curtail_fetched_bytes_total": Described(help="Bytes of the data set that were fetched."),
    "curtail_joins_total": Described(help="How often the site came into the run."),
    "curtail_join_seconds_total": Described(help="Real time that joins took, by cause.", label="cause"),
    "curtail_drains_total": Described(help="How often the site left in order."),
    "curtail_deaths_total": Described(help="How often its ranks died without leaving."),
    "curtail_peers_missed_total": Described(help="How often another member did not answer this one."),
    "curtail_energy_joules_total": Described(
        help="Energy drawn, PUE included: as a meter told, else by stated watts.", label="phase"
    ),
    "curtail_emissions_grams_total": Described(help="CO2 of that energy by the newest intensity read."),
}
GAUGES: Mapping[str, Described] = {
    "curtail_grid_intensity_grams_per_kilowatthour": Described(help="Carbon intensity; absent: unknown."),
    "curtail_grid_threshold_grams_per_kilowatthour": Described(help="Below it the site's windows lie."),
    "curtail_signal_up": Described(help="1 while there is a fresh reading of the intensity, else 0."),
    "curtail_store_up": Described(help="1 while the coordination store answers the ranks, else 0."),
    "curtail_trouble": Described(help="1 while that part of the agent fails, else 0.", label="part"),
    "curtail_site_stage": Described(help="1 for the stage that the site is in, else 0.", label="stage"),
    "curtail_site_phase": Described(help="1 for the phase that the site is in, else 0.", label="phase"),
    "curtail_loss": Described(help="Training loss of the newest inner step, nats per token."),
    "curtail_held_out_bits_per_byte": Described(help="Newest evaluation on the held-out split."),
    "curtail_throughput_tokens_per_second": Described(help="In the last round, without the exchange."),
    "curtail_flops_utilization_ratio": Described(help="Share of the devices' peak in the last round."),
    "curtail_version": Described(help="Newest version that this site swapped to."),
    "curtail_chain_tokens": Described(help="Tokens of all sites in that version."),
    "curtail_chain_rows": Described(help="Rows of all sites finished in that version."),
    "curtail_epoch_members": Described(help="Sites in the epoch that this one is a member of."),
    "curtail_snapshot_timestamp_seconds": Described(help="When this site's newest snapshot was durable."),
    "curtail_last_event_timestamp_seconds": Described(help="When the site wrote its newest event."),
    "curtail_run_finished": Described(help="1 when all rows of all passes are done, else 0."),
}
_PARTS = ("signal", "policy", "provisioner", "store", "plan", "operator", "meter")
_LABELLED = {name: one.label for name, one in (COUNTERS | GAUGES).items() if one.label}
_ADDED: Mapping[str, Mapping[str, str]] = {
    "step": {"tokens": "curtail_tokens_total", "steps": "curtail_inner_steps_total"},
    "commit": {"stall_s": "curtail_stall_seconds_total", "bytes_sent": "curtail_bytes_sent_total"},
    "round_discarded": {"steps": "curtail_discarded_steps_total"},
    "fetched": {"bytes": "curtail_fetched_bytes_total"},
}
"""Event -> its field -> the counter that it is added to."""
_COUNTED = {
    "commit": "curtail_rounds_total",
    "joined": "curtail_joins_total",
    "drained": "curtail_drains_total",
    "ranks_died": "curtail_deaths_total",
    "peer_missed": "curtail_peers_missed_total",
}
"""Event -> the counter of it."""
_SHOWN: Mapping[str, Mapping[str, str]] = {
    "step": {"loss": "curtail_loss"},
    "commit": {
        "version": "curtail_version",
        "tokens": "curtail_chain_tokens",
        "rows": "curtail_chain_rows",
    },
    "evaluated": {"val_bpb": "curtail_held_out_bits_per_byte"},
    "throughput": {
        "tokens_per_s": "curtail_throughput_tokens_per_second",
        "mfu": "curtail_flops_utilization_ratio",
    },
    "reading": {"g_per_kwh": "curtail_grid_intensity_grams_per_kilowatthour"},
    "site_started": {"threshold_g_per_kwh": "curtail_grid_threshold_grams_per_kilowatthour"},
}
"""Event -> its field -> the gauge that shows it."""
_OF_A_MEMBER = (
    "curtail_loss",
    "curtail_throughput_tokens_per_second",
    "curtail_flops_utilization_ratio",
    "curtail_store_up",
    "curtail_epoch_members",
)
"""Gauges that say nothing of a site that takes no part."""
_OF_A_READING = ("curtail_grid_intensity_grams_per_kilowatthour", "curtail_signal_up")


class SiteMetrics:
    """A sink that keeps one site's metrics. Written by its feeder's thread, read by any."""

    def __init__(self, *, run: str, site: str) -> None:
        """Publish nothing before the record has been read for the first time."""
        self.labels = (run, site)
        self._energy = EnergyCounter()
        self._values: dict[str, dict[str, float]] = {
            name: {} if one.label else {"": 0.0} for name, one in COUNTERS.items()
        }
        self._values["curtail_run_finished"] = {"": 0.0}
        self._then: Mapping[str, Callable[[Record], None]] = {
            "site_started": self._started,
            "reading": lambda _: self._show("curtail_signal_up", 1.0),
            "signal_lost": self._signal_lost,
            "store_lost": lambda _: self._show("curtail_store_up", 0.0),
            "store_found": lambda _: self._show("curtail_store_up", 1.0),
            "trouble": lambda record: self._mark("curtail_trouble", record["part"], 1.0),
            "trouble_over": lambda record: self._mark("curtail_trouble", record["part"], 0.0),
            "stage": lambda record: self._choose("curtail_site_stage", record["stage"], _STAGES),
            "phase": self._phase,
            "joined": self._joined,
            "epoch": lambda record: self._show("curtail_epoch_members", len(record["members"])),
            "snapshot": lambda record: self._show(
                "curtail_snapshot_timestamp_seconds", record.wall.timestamp()
            ),
            "run_finished": lambda _: self._show("curtail_run_finished", 1.0),
        }
        self.published: Mapping[str, Mapping[str, float]] = {}
        """Metric -> value of its own label, empty where it has none -> value. Replaced as a whole."""

    def write(self, record: Record) -> None:
        """Take one record in."""
        self._energy.take(record)
        for field, name in _ADDED.get(record.event, {}).items():
            self._add(name, "", float(record[field]))
        if record.event in _COUNTED:
            self._add(_COUNTED[record.event], "", 1.0)
        for field, name in _SHOWN.get(record.event, {}).items():
            if record[field] is not None:
                self._show(name, float(record[field]))
        if record.event in self._then:
            self._then[record.event](record)
        seen = self._values.get("curtail_last_event_timestamp_seconds", {}).get("", 0.0)
        self._show("curtail_last_event_timestamp_seconds", max(seen, record.wall.timestamp()))

    def caught_up(self) -> None:
        """Publish; never half of what stands in the files, or a counter would seem to have fallen."""
        self._energy.count()
        self._values["curtail_energy_joules_total"] = dict(self._energy.joules)
        grams = self._energy.grams
        self._values["curtail_emissions_grams_total"] = {} if grams is None else {"": grams}
        self.published = {name: dict(values) for name, values in self._values.items() if values}

    def cut_off(self) -> None:
        """Withdraw what was published until the events can be read again: it may not hold any more."""
        self.published = {}

    def close(self) -> None:
        """Withdraw what was published: nobody follows the events any more. Idempotent."""
        self.published = {}

    def _add(self, name: str, label: str, amount: float) -> None:
        values = self._values[name]
        values[label] = values.get(label, 0.0) + amount

    def _show(self, name: str, value: float) -> None:
        self._values[name] = {"": float(value)}

    def _mark(self, name: str, label: str, value: float) -> None:
        self._values.setdefault(name, {})[label] = value

    def _choose(self, name: str, chosen: str, among: Iterable[str]) -> None:
        self._values[name] = {one: float(one == chosen) for one in among}

    def _forget(self, names: Iterable[str]) -> None:
        for name in names:
            self._values.pop(name, None)

    def _started(self, record: Record) -> None:
        """A new agent stands at the beginning, and has asked nobody yet."""
        self._forget(_OF_A_READING)
        self._choose("curtail_site_stage", Stage.OFF.value, _STAGES)
        self._values["curtail_trouble"] = dict.fromkeys(_PARTS, 0.0)

    def _signal_lost(self, record: Record) -> None:
        self._forget(_OF_A_READING)
        self._show("curtail_signal_up", 0.0)

    def _phase(self, record: Record) -> None:
        self._choose("curtail_site_phase", record["phase"], PHASES)
        if record["phase"] in ("off", "join", "parked"):
            self._forget(_OF_A_MEMBER)

    def _joined(self, record: Record) -> None:
        self._show("curtail_store_up", 1.0)
        for cause, seconds in record.fields.get("causes", {}).items():
            self._add("curtail_join_seconds_total", str(cause), float(seconds))


_STAGES = tuple(stage.value for stage in Stage)


def families(sites: Sequence[SiteMetrics]) -> "Iterator[CounterMetricFamily | GaugeMetricFamily]":
    """Yield what is published of sites, one family a metric that any of them knows."""
    from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

    published = [(one.labels, one.published) for one in sites]
    for kind, described in ((CounterMetricFamily, COUNTERS), (GaugeMetricFamily, GAUGES)):
        for name, one in described.items():
            own = [one.label] if one.label else []
            family = kind(name, one.help, labels=[*LABELS, *own])
            for labels, values in published:
                for label, value in values.get(name, {}).items():
                    family.add_metric([*labels, *([label] if own else [])], value)
            if family.samples:
                yield family


@contextmanager
def served_metrics(
    address: str, directory: Path, *, run: str, sites: Sequence[str]
) -> Iterator[MetricsEndpoint]:
    """Serve the metrics of an agent's sites from their event files while the context is open.

    Args:
        address: HOST:PORT to listen at, as `telemetry.prometheus`.
        directory: The run directory.
        run: The run's name.
        sites: The sites whose agents run in this process.

    Raises:
        ConfigError: The address cannot be listened at.
    """
    followed = [SiteMetrics(run=run, site=site) for site in sites]
    with ExitStack() as stack:
        endpoint = stack.enter_context(MetricsEndpoint(address, partial(families, followed)))
        for one in followed:
            stack.enter_context(Feeder(directory, lambda one=one: one, site=one.labels[1]))
        yield endpoint
