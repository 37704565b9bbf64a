"""Every section of the run file: each key with its unit, its default and its check."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from curtail_dist.config.reader import Refused
from curtail_dist.units import Seconds


def require(holds: bool, key: str, value: object, must: str) -> None:
    """Raise ConfigError(`key is value; it must be must`) unless `holds`; see Refused for the key's path."""
    if not holds:
        raise Refused(key, value, must)


def require_web(url: str, key: str) -> None:
    """Raise ConfigError unless `url` is empty, or a web address that can be asked and holds no password.

    A run file stands in records, and an address in logs. One that is refused for what it holds is not
    repeated: that may be a credential.
    """
    if not url:
        return
    require(url.startswith(("http://", "https://")), key, url, "an http:// or https:// address")
    without = f"{url.partition(':')[0]}://..."
    try:
        parts = urlsplit(url)
        account, reachable = "@" in parts.netloc, bool(parts.hostname) and parts.port != 0
    except ValueError:
        account = reachable = False
    must = "an address without a user and a password: say in the keys for credentials where they stand"
    require(not account, key, without, must)
    require(reachable, key, without, "an address with a host, and a port that is a number or left out")
    plain = re.fullmatch("[!-~]*", url) is not None
    require(plain, key, without, "an address in ASCII without blanks: percent-encode what is not")


@dataclass(frozen=True, kw_only=True)
class RunSection:
    """Which run this is."""

    name: str
    """Name of the run; part of every key in the coordination store."""
    directory: Path
    """Where configuration, events, snapshots and reports are written. Relative paths start at the run file.
    Default: `runs/NAME` beside the run file."""
    seed: int = 1
    """Seeds model initialization and the order of rows."""
    start: datetime | None = None
    """Run time 0, UTC; not one to come, except in `simulate`, since nothing waits for it. Default: the moment
    the run is founded (first process start)."""
    deadline_h: float = 18.0
    """Length of the planned period in hours of run time: for baselines, the oracle and `simulate`."""

    def __post_init__(self) -> None:
        named = self.name not in ("", ".", "..") and "/" not in self.name and self.name.isprintable()
        must = "a name other than . and .., without slashes and control characters"
        require(named, "run.name", self.name, must)
        require(0 <= self.seed < 2**63, "run.seed", self.seed, "at least 0 and below 2^63")
        require(self.deadline_h > 0, "run.deadline_h", self.deadline_h, "above 0")


@dataclass(frozen=True, kw_only=True)
class ClockConfig:
    """The run's clock: real, or virtual with modelled durations (the demo)."""

    kind: str = "real"
    """`real` or `virtual`."""
    endpoint: str = ""
    """HOST:PORT of the virtual clock's service; only for `virtual`."""
    step_s: Seconds = 0.0
    """Virtual seconds one inner step claims."""
    sync_s: Seconds = 0.0
    """Virtual seconds an exchange with at least one peer claims."""
    join_s: Seconds = 0.0
    """Virtual seconds from the decision to start until the first inner step can begin."""

    def __post_init__(self) -> None:
        require(self.kind in ("real", "virtual"), "clock.kind", self.kind, "real or virtual")
        require(
            (self.kind == "virtual") == bool(self.endpoint),
            "clock.endpoint",
            self.endpoint,
            "given for a virtual clock only",
        )
        for name in ("step_s", "sync_s", "join_s"):
            require(getattr(self, name) >= 0, f"clock.{name}", getattr(self, name), "at least 0")


@dataclass(frozen=True, kw_only=True)
class RoundConfig:
    """How long sites train between two outer steps, and how long they wait for each other."""

    steps: int = 100
    """Inner steps of the fastest site; slower ones do proportionally fewer."""
    grace_s: Seconds = 1.0
    """After a lost connection: real time in which a living member must affirm itself."""
    exchange_timeout_s: Seconds = 60.0
    """Real time after which one operation of an exchange counts as failed, lease or no lease."""
    outage_s: Seconds = 600.0
    """Real time that training goes on without the coordination store before the site stops cleanly."""

    def __post_init__(self) -> None:
        require(self.steps >= 1, "round.steps", self.steps, "at least 1")
        for name in ("grace_s", "exchange_timeout_s", "outage_s"):
            require(getattr(self, name) > 0, f"round.{name}", getattr(self, name), "above 0")


_CODECS = ("fp32", "bf16", "int8", "int4")
WEIGHTS = ("tokens", "tokens2_per_step")
"""How a site may be weighed."""
_TABLES = ("none", "muon", "adamw")
MOMENTA = ("keep", "restart", "scale")
"""What may become of the outer momentum when other sites contribute."""


def _is_above_zero(text: str) -> bool:
    try:
        return float(text) > 0
    except ValueError:
        return False


@dataclass(frozen=True, kw_only=True)
class OuterConfig:
    """The outer optimizer (DiLoCo, arXiv 2311.08105)."""

    optimizer: str = "nesterov"
    """`nesterov` or `average`."""
    lr: float = 0.7
    """Outer learning rate; ignored by `average`."""
    momentum: float = 0.9
    """Nesterov momentum; ignored by `average`."""
    codec: str = "fp32"
    """How pseudo-gradients travel: `fp32`, `bf16`, or blockwise `int8` or `int4`, with error feedback."""
    lanes: int = 1
    """Connections from each site to each other that a payload is divided among; more on long paths."""
    fragments: int = 1
    """F, parts of the model that are exchanged in turn, one every round.steps / F inner steps."""
    sync_delay: int = 0
    """tau, inner steps that a site does while an exchange is under way; less than round.steps / F. Of what
    they change in the parameters that travel, mix_alpha says how much is left; their rows count as done."""
    mix_alpha: float = 0.0
    """alpha, what an outer step leaves of the local parameters: 0 takes the global ones, 1 keeps these."""
    weight: str = "tokens"
    """A site's weight in the mean: `tokens` stepped, or `tokens2_per_step`, tokens^2 / steps."""
    table: str = "none"
    """Learning rate and momentum by the effective number of sites: `none` (lr and momentum as above), or as
    published for the inner optimizer `muon` or `adamw`."""
    by_sites: Mapping[str, tuple[float, ...]] | None = None
    """A table of your own in place of those: number of sites -> [lr, momentum]."""
    momentum_on_change: str = "keep"
    """When other sites contribute than before: `keep` the momentum, `restart` or `scale` it."""

    def __post_init__(self) -> None:
        require(
            self.optimizer in ("nesterov", "average"),
            "outer.optimizer",
            self.optimizer,
            "nesterov or average",
        )
        require(self.codec in _CODECS, "outer.codec", self.codec, ", ".join(_CODECS))
        require(self.weight in WEIGHTS, "outer.weight", self.weight, " or ".join(WEIGHTS))
        require(self.table in _TABLES, "outer.table", self.table, ", ".join(_TABLES))
        if self.optimizer == "average":
            must = (
                "none with outer.optimizer average, which has no learning rate and no momentum: leave it out"
            )
            require(self.table == "none", "outer.table", self.table, must)
            require(not self.by_sites, "outer.by_sites", dict(self.by_sites or {}), must)
        change = self.momentum_on_change
        require(change in MOMENTA, "outer.momentum_on_change", change, ", ".join(MOMENTA))
        require(1 <= self.lanes <= 64, "outer.lanes", self.lanes, "from 1 to 64")
        require(self.fragments >= 1, "outer.fragments", self.fragments, "at least 1")
        require(self.sync_delay >= 0, "outer.sync_delay", self.sync_delay, "at least 0")
        require(0 <= self.mix_alpha <= 1, "outer.mix_alpha", self.mix_alpha, "in [0, 1]")
        for sites, pair in (self.by_sites or {}).items():
            fits = _is_above_zero(sites) and len(pair) == 2 and pair[0] > 0 and 0 <= pair[1] < 1
            must = "a number of sites: [lr, momentum], lr above 0 and momentum in [0, 1)"
            require(fits, f"outer.by_sites.{sites}", list(pair), must)
        require(self.lr > 0, "outer.lr", self.lr, "above 0")
        require(0 <= self.momentum < 1, "outer.momentum", self.momentum, "in [0, 1)")


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """The rows to train on."""

    manifest: Path
    """manifest.json of the data set. Relative paths start at the run file."""
    passes: int = 1
    """How often every row is done."""
    ahead_shards: int = 2
    """Shards fetched beyond the one in use, where they are not on this site's disk."""

    def __post_init__(self) -> None:
        require(self.ahead_shards >= 0, "data.ahead_shards", self.ahead_shards, "at least 0")
        require(self.passes >= 1, "data.passes", self.passes, "at least 1")


@dataclass(frozen=True, kw_only=True)
class StateConfig:
    """Where snapshots go."""

    url: str = ""
    """Directory, or any URL that fsspec opens (s3://BUCKET/RUN), that every site can read. Default:
    `snapshots` in the run directory."""
    keep: int = 3
    """Complete snapshots kept."""
    durable_before_commit: bool = True
    """Make S(n+1) durable before commit n+1, so that head can always be resumed; else before commit n+2.

    Without it a crash of every site right after a commit leaves a head that nobody holds.
    """
    transfer_timeout_s: Seconds = 60.0
    """Real time for which a peer that gives the state may be silent before another is asked."""
    unreachable: str = "refuse"
    """What a site does about a snapshot that is durable, but that it cannot find: `refuse` to go on, `wait`
    for a site that can, or `rewind` to the newest one it finds (later commits are dropped)."""
    inner_max_age_s: Seconds = 3600.0
    """Run time for which the inner optimizer's state on the site's own disk is taken up again on rejoin; 0:
    never kept."""

    def __post_init__(self) -> None:
        choices = ("refuse", "wait", "rewind")
        require(
            self.unreachable in choices, "state.unreachable", self.unreachable, "one of " + ", ".join(choices)
        )
        require(self.inner_max_age_s >= 0, "state.inner_max_age_s", self.inner_max_age_s, "at least 0")
        waits_s = self.transfer_timeout_s
        require(waits_s > 0, "state.transfer_timeout_s", waits_s, "above 0")
        require(self.keep >= 2, "state.keep", self.keep, "at least 2 (head and its parent)")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The rank program and what it alone understands."""

    program: str = "curtail_launch.train"
    """Module or path of a script that torchrun starts with `--config RUN.yaml --site NAME`. A relative path
    is that of a file beside the run file or, where there is none, starts where the ranks are started."""
    stall_s: Seconds = 600.0
    """Real time that one inner step, or one piece of work between two, may take. A process whose main loop
    passes no progress point for longer gives up its lease, and the others go on without it."""
    warmup_steps: int = 10
    """Inner steps over which `DiLoCo.warmup` rises to 1 after the inner optimizer began with a fresh state in
    a run that had gone on before."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The other keys of `train`, for the program to check."""

    def __post_init__(self) -> None:
        must = "a module, or a path that ends in .py"
        require(bool(self.program.strip()), "train.program", self.program, must)
        require(self.stall_s > 0, "train.stall_s", self.stall_s, "above 0")
        require(self.warmup_steps >= 0, "train.warmup_steps", self.warmup_steps, "at least 0")
