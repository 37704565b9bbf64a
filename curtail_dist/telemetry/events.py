"""What can happen in a run: each kind of event with its fields. See record.py for how they are kept."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from curtail_dist.units import GramsCO2PerKWh, Seconds, Watts


@dataclass(frozen=True, kw_only=True)
class Event:
    """Base of all events; a subclass's name in the record is `NAME`."""

    NAME: ClassVar[str]


@dataclass(frozen=True, kw_only=True)
class RunStarted(Event):
    """A run was founded (version 0), or the demo began. Written once, by whoever founded it."""

    NAME = "run_started"
    run: str
    seed: int
    start: str
    """Run time 0 as UTC, ISO 8601."""
    rows: int
    """Rows in all passes."""
    virtual: bool


@dataclass(frozen=True, kw_only=True)
class SiteStarted(Event):
    """A site's agent began; what its energy is reckoned with."""

    NAME = "site_started"
    train_w: Watts
    idle_w: Watts
    join_w: Watts
    sync_w: Watts
    threshold_g_per_kwh: GramsCO2PerKWh
    leave_delay_s: Seconds
    deadline_s: Seconds
    """Length of the planned period, from run time 0."""
    outlook: list[tuple[Seconds, GramsCO2PerKWh]]
    """The intensity as known at the start, for baselines and the offline bound: (run time from which,
    value)."""
    synthetic: bool
    """Whether the trace says of itself that it is synthetic."""
    pue: float = 1.0
    """What all its energy is multiplied by, for the building around its machines."""
    embodied_kg: float | None = None
    """kg CO2e of its hardware over its life; None where that is not counted."""
    lifetime_h: float | None = None
    """Hours of use over which embodied_kg is spread."""
    covers: str = ""
    """What the watts above include and where they come from, as the run file says."""
    average: list[tuple[Seconds, GramsCO2PerKWh]] = field(
        default_factory=list[tuple[Seconds, GramsCO2PerKWh]]
    )
    """The grid's average (location-based) intensity as `outlook` is given; empty where none is known."""


@dataclass(frozen=True, kw_only=True)
class ReadingSeen(Event):
    """The site's carbon intensity changed."""

    NAME = "reading"
    g_per_kwh: GramsCO2PerKWh
    measured_t: Seconds
    """Run time from which this value holds."""
    source: str
    basis: str = "marginal"
    """`marginal`, or `average` where the source knows only that."""
    from_forecast: bool = False
    """Whether an earlier forecast says it, while the source does not answer."""


@dataclass(frozen=True, kw_only=True)
class SignalLost(Event):
    """There is no fresh reading."""

    NAME = "signal_lost"
    reason: str


@dataclass(frozen=True, kw_only=True)
class Decided(Event):
    """What is wanted of the site has changed, or why; with the reading that the decision rests on."""

    NAME = "decided"
    action: str
    """`start`, `keep` or `drain`."""
    reason: str
    g_per_kwh: GramsCO2PerKWh | None
    """The reading; None where there was none."""
    measured_t: Seconds | None = None
    """Run time from which the reading holds."""
    source: str = ""
    """Where the reading comes from."""
    from_forecast: bool = False
    """Whether an earlier forecast said it."""
    by: str = "policy"
    """`policy` or `operator`, who stands above it."""


@dataclass(frozen=True, kw_only=True)
class Planned(Event):
    """A plan for all sites was made at this one; every agent makes its own, from what all have published."""

    NAME = "planned"
    price_g_per_s: float | None
    """Price of work at which it is done by the deadline, g CO2 a site-second; None: it is late, and every
    site is wanted."""
    wanted: dict[str, str]
    """Site -> `off`, `on` or `capped`."""
    work_s: Seconds
    """Site-seconds of training that were taken to be left."""
    efficiency: float
    """Share of training in the time of sites that are up together, as it was taken."""


@dataclass(frozen=True, kw_only=True)
class StageEntered(Event):
    """The site's agent has taken the site to another stage."""

    NAME = "stage"
    stage: str
    """`off`, `joining`, `on` or `draining`."""
    reason: str
    was: str
    """The stage before."""
    after_s: Seconds
    """Run time spent in that one."""


@dataclass(frozen=True, kw_only=True)
class Ordered(Event):
    """The operator's order for this site has changed."""

    NAME = "ordered"
    order: str
    """`hold`, `drain`, `stop`, or `release`: there is none any more."""
    reason: str
    by: str
    """Who gave it."""
    until: str | None = None
    """When it expires, UTC, ISO 8601; None: when it is released."""


@dataclass(frozen=True, kw_only=True)
class Trouble(Event):
    """A part that the site's agent works with has failed; the agent goes on and tries again."""

    NAME = "trouble"
    part: str
    """`signal`, `policy`, `provisioner`, `store`, `plan`, `operator` (an order that cannot be read) or
    `meter`."""
    reason: str


@dataclass(frozen=True, kw_only=True)
class TroubleOver(Event):
    """That part works again."""

    NAME = "trouble_over"
    part: str
    after_s: Seconds
    """Run time since it failed."""


@dataclass(frozen=True, kw_only=True)
class MeterOpened(Event):
    """From now on a meter measures what the site draws."""

    NAME = "meter"
    source: str
    """What measures."""
    covers: str
    """What the energy is that of, for people."""


@dataclass(frozen=True, kw_only=True)
class Energy(Event):
    """What a meter measured between two readings of it."""

    NAME = "energy"
    since: Seconds
    """Run time of the reading before."""
    until: Seconds
    joules: float
    """Energy drawn on [since, until), without PUE."""
    stated_joules: float = 0.0
    """Part of it that was not measured but stated (a constant meter in a sum)."""


MEMBER_PHASES = ("train", "sync", "idle")
"""Those of a site that takes part in the run."""


@dataclass(frozen=True, kw_only=True)
class Phase(Event):
    """From now on the site is in this phase, until its next `phase`. The basis of its energy."""

    NAME = "phase"
    phase: str
    """`off`, `join`, `idle`, `train`, `sync`, or `parked` (ranks in memory without a part in the run)."""


@dataclass(frozen=True, kw_only=True)
class RanksStarted(Event):
    """The provisioner started the site's ranks."""

    NAME = "ranks_started"
    pid: int


@dataclass(frozen=True, kw_only=True)
class RanksExited(Event):
    """The site's ranks are gone."""

    NAME = "ranks_exited"
    code: int


@dataclass(frozen=True, kw_only=True)
class RanksDied(Event):
    """The site's ranks died without leaving: a death, not a drain."""

    NAME = "ranks_died"
    reason: str


@dataclass(frozen=True, kw_only=True)
class Joined(Event):
    """The site holds the run's state and is a member."""

    NAME = "joined"
    version: int
    how: str
    """`founded` (version 0), `resumed` (from a snapshot, after the dark) or `pulled` (from a peer)."""
    wall_s: Seconds
    """Real time from the rank program's start."""
    causes: dict[str, float] = field(default_factory=dict[str, float])
    """Where the time from the decision went, real seconds by cause: `provision`, `import`, `load`, `compile`,
    `pull`, `data`, and `boundary` (waiting for the others' round to end), as far as known."""


@dataclass(frozen=True, kw_only=True)
class HeadFound(Event):
    """The head that a site found as it came in: whoever committed it may not have lived to tell of it.

    Its fields are those of a commit on which all members agree.
    """

    NAME = "head_found"
    version: int
    hash: str
    parent: str
    committed_in: int
    """The epoch of its commit."""
    tokens: int
    rows: int
    work: list[dict[str, Any]]
    returned: list[list[Any]]


@dataclass(frozen=True, kw_only=True)
class Fetched(Event):
    """A file of the data set was not on the site's disk, and came."""

    NAME = "fetched"
    file: str
    source: str
    """HOST:PORT of the site that gave it, or the address below which it is."""
    bytes: int
    """That came; fewer than the file has where a part was there."""
    seconds: Seconds
    """Real time."""


@dataclass(frozen=True, kw_only=True)
class EpochFormed(Event):
    """A member entered a new epoch's group."""

    NAME = "epoch"
    members: list[str]
    reason: str
    """`founded`, `resumed`, `rewound`, `joined`, `left` or `lost`."""


@dataclass(frozen=True, kw_only=True)
class RoundStarted(Event):
    """A member began a round."""

    NAME = "round_started"
    steps: int
    """Inner steps this member is to do."""
    rows: list[list[int]]
    """Positions of the rows reserved for it: [[first, last+1], ...]."""


@dataclass(frozen=True, kw_only=True)
class Step(Event):
    """Inner steps were done."""

    NAME = "step"
    steps: int
    """Inner steps since the last such event."""
    tokens: int
    rows: int
    """Rows taken since the round began. A process whose record ends after this without a `commit`, a
    `round_discarded` or a `drained` was killed: these rows went back to the pool, these steps are lost."""
    loss: float | None
    """Training loss of the last of them, nats per token; None where the program does not say."""
    lr_factor: float | None = None
    """Of the last of them, by the inner optimizer's leading group, which is the first that has a `momentum`,
    else the first: its learning rate over its `initial_lr`; None where it has none."""
    momentum: float | None = None
    """Of that group; the first of `betas` where it has those instead."""
    weight_decay: float | None = None
    """Of that group."""


@dataclass(frozen=True, kw_only=True)
class PeerMissed(Event):
    """A member did not answer."""

    NAME = "peer_missed"
    peer: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Committed(Event):
    """A member swapped to a new version. Every member writes one; all but its last three fields agree."""

    NAME = "commit"
    version: int
    hash: str
    parent: str = ""
    """Hash of the version it stands on; empty in records of before this field."""
    tokens: int
    """Tokens in the whole chain."""
    rows: int
    """Rows done in the whole chain."""
    work: list[dict[str, Any]]
    """What each contributor did: {"site", "tokens", "steps", "rows": [[first, last+1], ...], "open":
    [[position, tokens], ...]}, positions in the run's row order (passes follow each other). `rows` were
    finished; `open` ones have this many tokens in the chain."""
    joiners: list[str]
    loss: float | None
    """Mean training loss of this member's round."""
    bytes_sent: int
    """Bytes this member sent: cards, votes, pseudo-gradients."""
    stall_s: Seconds
    """Real time of this member in which no inner step ran, from the end of its last step to the swap."""
    synced: list[int] = field(default_factory=list[int])
    """Fragments that moved."""
    returned: list[list[Any]] = field(default_factory=list[list[Any]])
    """[version, site] of work in earlier versions that was lost with its site before it was in every
    fragment; its rows are in the pool again."""


@dataclass(frozen=True, kw_only=True)
class RoundDiscarded(Event):
    """A living site threw its open round away; the rows are back in the pool. Killed ones: see `step`."""

    NAME = "round_discarded"
    steps: int
    rows: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class Drained(Event):
    """The site left in order."""

    NAME = "drained"
    version: int


@dataclass(frozen=True, kw_only=True)
class Snapshot(Event):
    """A snapshot is durable."""

    NAME = "snapshot"
    version: int
    hash: str
    size_bytes: int
    wall_s: Seconds


@dataclass(frozen=True, kw_only=True)
class Evaluated(Event):
    """Bits per byte on the held-out split."""

    NAME = "evaluated"
    version: int
    val_bpb: float


@dataclass(frozen=True, kw_only=True)
class Sampled(Event):
    """What the global model writes."""

    NAME = "sampled"
    version: int
    texts: list[str]
    """Each with its prompt."""


@dataclass(frozen=True, kw_only=True)
class Throughput(Event):
    """How fast a site's ranks trained in a round, without the exchange at its end."""

    NAME = "throughput"
    version: int
    """The one that the round led to."""
    tokens_per_s: float
    """Real time, all ranks of the site together."""
    mfu: float | None
    """Share of what their devices can do at most; None where that is not known."""


@dataclass(frozen=True, kw_only=True)
class Rewound(Event):
    """After the dark head's snapshot was not to be had: the run goes on from an earlier version."""

    NAME = "rewound"
    base: int
    """The version it goes on from; the commits after it are dropped, their rows back in the pool."""
    hash: str
    dropped: int
    """Commits dropped."""


@dataclass(frozen=True, kw_only=True)
class StoreLost(Event):
    """The coordination store does not answer; training goes on."""

    NAME = "store_lost"
    reason: str


@dataclass(frozen=True, kw_only=True)
class StoreFound(Event):
    """The coordination store answers again."""

    NAME = "store_found"
    away_s: Seconds


@dataclass(frozen=True, kw_only=True)
class FaultInjected(Event):
    """Somebody broke something on purpose."""

    NAME = "fault"
    kind: str
    target: str


@dataclass(frozen=True, kw_only=True)
class RunFinished(Event):
    """All rows of all passes are done. Every member writes one."""

    NAME = "run_finished"
    version: int
    hash: str
    tokens: int
