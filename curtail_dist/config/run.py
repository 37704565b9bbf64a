"""The run file as one value, read from YAML and written back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from curtail_dist.config.coordination import CoordinationConfig
from curtail_dist.config.own import is_own
from curtail_dist.config.paths import absolute, located
from curtail_dist.config.policy import PolicyConfig
from curtail_dist.config.reader import build, load_yaml, override, plain
from curtail_dist.config.sections import (
    ClockConfig,
    DataConfig,
    OuterConfig,
    RoundConfig,
    RunSection,
    StateConfig,
    TrainConfig,
    require,
)
from curtail_dist.config.security import SecurityConfig
from curtail_dist.config.signals import SignalConfig
from curtail_dist.config.sites import SiteConfig
from curtail_dist.config.telemetry import TelemetryConfig
from curtail_dist.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """One run, whole. `model` and `train.*` are read by the rank program, not by the library."""

    run: RunSection
    sites: Mapping[str, SiteConfig]
    data: DataConfig
    clock: ClockConfig = field(default_factory=ClockConfig)
    coordination: CoordinationConfig = field(default_factory=CoordinationConfig)
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    round: RoundConfig = field(default_factory=RoundConfig)
    outer: OuterConfig = field(default_factory=OuterConfig)
    state: StateConfig = field(default_factory=StateConfig)
    telemetry: TelemetryConfig = field(default_factory=TelemetryConfig)
    security: SecurityConfig = field(default_factory=SecurityConfig)
    baselines: Mapping[str, SignalConfig] = field(default_factory=dict)
    """Further always-on sites, by trace, where nothing trains, to compare with; named otherwise than the
    sites and, as pairs of those are `a+b`, without +."""
    model: Mapping[str, Any] = field(default_factory=dict)
    """For the rank program."""
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        require(bool(self.sites), "sites", dict(self.sites), "a mapping with at least one site")
        for name in self.sites:
            require(
                name.replace("-", "").replace("_", "").isalnum(),
                "sites",
                name,
                "named with letters, digits, - and _",
            )
        for name, site in self.sites.items():
            park_s = site.provisioner.park_s
            key = f"sites.{name}.provisioner.park_s"
            require(self.clock.kind == "real" or not park_s, key, park_s, "0 with a virtual clock")
            kind, key = site.meter.kind, f"sites.{name}.meter.kind"
            require(self.clock.kind == "real" or kind == "model", key, kind, "model with a virtual clock")
            grid, train_w = site.signal.microgrid, site.power.train_w
            key = f"sites.{name}.signal.microgrid.train_w"
            holds = grid is None or grid.train_w == train_w
            require(holds, key, grid and grid.train_w, f"the site's power.train_w, {train_w:g}")
            pue, key = site.footprint.pue, f"sites.{name}.footprint.pue"
            must = "1 where a microgrid's surplus is read: give watts, and readings, with cooling in them"
            require(grid is None or grid.measure == "intensity" or pue == 1.0, key, pue, must)
            self._check_rhythm(f"sites.{name}.signal", site.signal)
            key, weighs = f"sites.{name}.price", self.policy.g_per_currency > 0
            must = "given, for policy.g_per_currency weighs it: a site without one would be taken for free"
            require(site.price is not None or not weighs, key, site.price, must)
        self._check_baselines()
        options, kind = self.policy.options, self.policy.kind
        holds = not options or is_own(kind)
        require(holds, "policy.options", options, f"left out with kind {kind}")
        self._check_streaming()

    def _check_rhythm(self, key: str, signal: SignalConfig) -> None:
        """Raise ConfigError where a feed is asked more rarely than its answers are believed."""
        every_s, most = signal.every_s, self.policy.max_age_s
        holds = every_s is None or every_s < most
        require(holds, f"{key}.every_s", every_s, f"less than policy.max_age_s, {most:g}")
        if signal.fallback is not None:
            self._check_rhythm(f"{key}.fallback", signal.fallback)

    def _check_baselines(self) -> None:
        """Raise ConfigError where a further baseline would take the place of a site's or of a pair's own."""
        for name in self.baselines:
            must = "named otherwise than every site, since each is a baseline by its own name: rename it"
            require(name not in self.sites, "baselines", name, must)
            must = "named without +, which joins the names of a pair of sites: rename it"
            require("+" not in name, "baselines", name, must)

    def _check_streaming(self) -> None:
        """Raise ConfigError unless fragments and overlapped steps fit the rounds."""
        steps, outer = self.round.steps, self.outer
        must = f"a multiple of outer.fragments, {outer.fragments}"
        require(steps % outer.fragments == 0, "round.steps", steps, must)
        period = steps // outer.fragments
        must = f"less than the {period} inner steps between two exchanges (round.steps / outer.fragments)"
        require(outer.sync_delay < period, "outer.sync_delay", outer.sync_delay, must)

    @classmethod
    def from_yaml(cls, path: str | Path, overrides: Sequence[str] = ()) -> Self:
        """Read a run file; `overrides` are `a.b=c`. Raises ConfigError, which names the file."""
        path = Path(path)
        tree = load_yaml(path)
        for assignment in overrides:
            override(tree, assignment)
        try:
            return cls.from_mapping(tree, base=path.parent)
        except ConfigError as error:
            with_set = f", with --set {' --set '.join(overrides)}" if overrides else ""
            raise ConfigError(f"run file {path}{with_set}: {error}") from error

    @classmethod
    def from_mapping(cls, tree: Mapping[str, Any], *, base: Path = Path()) -> Self:
        """Build from plain values; relative paths start at `base`. Raises ConfigError."""
        resolved = _resolve(dict(tree), base.absolute())
        return build(cls, resolved, "")

    def site(self, name: str) -> SiteConfig:
        """Return the named site's section. Raises ConfigError for an unknown name."""
        if name not in self.sites:
            raise ConfigError(
                f"site {name!r} is not in the run file; it must be one of {', '.join(self.sites)}"
            )
        return self.sites[name]

    @property
    def snapshot_url(self) -> str:
        """Where snapshots go, the default filled in."""
        return self.state.url or str(self.run.directory / "snapshots")

    @property
    def work_h(self) -> float:
        """Site-hours of training that the run is to take, the default filled in."""
        return self.run.deadline_h if self.policy.work_h is None else self.policy.work_h

    def to_mapping(self) -> dict[str, Any]:
        """Return plain values from which `from_mapping` builds an equal configuration."""
        tree = plain(self)
        options = tree["train"].pop("options")
        tree["train"] = {**tree["train"], **options}
        return tree

    def to_yaml(self, path: Path) -> None:
        """Write the effective configuration."""
        from curtail_dist.config import dialect  # imports yaml: see load_yaml

        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dialect.dump(self.to_mapping()), encoding="utf-8")


def _resolve(tree: dict[str, Any], base: Path) -> dict[str, Any]:
    """Make paths absolute, fill in the run's directory, and gather the program's own `train` keys."""
    tree = absolute(tree, base)
    run, train = tree.get("run"), tree.get("train", {})
    if isinstance(run, Mapping) and "directory" not in run:
        tree["run"] = {**run, "directory": str(base / "runs" / str(run.get("name")))}
    if isinstance(train, Mapping):
        own = {field.name for field in fields(TrainConfig)} - {"options"}
        tree["train"] = {key: value for key, value in train.items() if key in own}
        tree["train"]["options"] = {key: value for key, value in train.items() if key not in own}
        program = train.get("program")
        if isinstance(program, str) and program.endswith(".py") and located(program, base).is_file():
            tree["train"]["program"] = str(located(program, base))
    return {key: value for key, value in tree.items() if value is not None or key not in ("run", "data")}
