"""How green a site's power is: readings of its microgrid's surplus, or of its grid's intensity alone.

The site's GPUs come after what else is consumed there, and production comes first. With

    spare = max(0, production + what the battery can sustain - base load)             W
    share = min(1, spare / demand),   demand = train_w, or what the site draws if that is more
    value = share * g of the production + (1 - share) * g of the grid                 g CO2/kWh

the value is that of the production where the surplus is enough for the site to train, the grid's where there
is none, and the mean weighted by share in between. It does not change when the site starts: what the site
draws is not taken from the surplus that it is measured by. A battery, though, is emptied by it, tick by tick.
The value is an expectation for the site's next energy, not an account: see `gridimport`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import vessim  # pyright: ignore[reportMissingTypeStubs]  (it ships no types)

from curtail_dist.clock import Timepiece
from curtail_dist.config.signals import Basis
from curtail_dist.energy.emissions import Interval, PowerModel
from curtail_dist.energy.signals import OutsideTrace, Reading
from curtail_dist.energy.stepfunction import StepFunction
from curtail_dist.energy.vessim.flow import Draw, Flow, KnownDraw
from curtail_dist.energy.vessim.gridimport import drawn
from curtail_dist.energy.vessim.scenario import Scenario
from curtail_dist.energy.vessim.trace import played
from curtail_dist.units import GramsCO2PerKWh, Seconds, Watts


class MicrogridSignal:
    """The readings of a microgrid at the run's time. A `Signal` that is fed. Owned by one thread.

    In simulated mode the site is off until it is fed, and draws what was fed until it is fed again. In live
    mode a feed expires, and before the first one and after the last has expired the site is taken to train.
    The readings depend on the clock's time and the feeds alone: clocks that jump give the same ones.
    """

    def __init__(
        self,
        scenario: Scenario,
        *,
        clock: Timepiece,
        source: str,
        synthetic: bool,
        basis: Basis = "marginal",
    ) -> None:
        """Play `scenario` as `clock` goes on; the clock stays its owner's."""
        config = scenario.config
        live = config.mode == "live"
        self._scenario = scenario
        self._clock = clock
        self._source = source
        self._synthetic = synthetic
        self._basis: Basis = basis
        self._surplus = config.measure == "surplus"
        self._stores = self._surplus and config.storage is not None
        self._grid = played(scenario.intensity, label="grid")
        self._production = (
            None if scenario.production is None else played(scenario.production, label="production")
        )
        self._draw = Draw(
            begin=scenario.begin,
            first=None if live else 0.0,
            unknown=config.train_w,
            max_age_s=config.feed_max_age_s if live else float("inf"),
        )
        self._flow = Flow(scenario, self._draw, scenario.battery())

    @property
    def source(self) -> str:
        """The microgrid and its files."""
        return self._source

    @property
    def synthetic(self) -> bool:
        """Whether one of its traces says so."""
        return self._synthetic

    @property
    def basis(self) -> Basis:
        """What the grid's part of a value is; what is produced has the intensity that the run file states."""
        return self._basis

    def feed(self, watts: Watts) -> None:
        """Say what the site draws from now on, measured or modelled.

        It counts from the next tick on, this moment included. In live mode feed at each poll: a value
        expires after `feed_max_age_s`. Raises ValueError for what is no power; what was fed before stands.
        """
        now = self._clock.now()
        if now < self._scenario.end:
            self._sustained(self._flow, now)
        self._draw.feed(watts, now)

    def latest(self) -> Reading:
        """Return what holds now. Raises OutsideTrace where the grid or the production is not known."""
        return self._reading(self._clock.now())

    def forecast(self, horizon: Seconds) -> list[Reading]:
        """Return what the traces say from now, as if the site trained throughout.

        With a battery that is the least green that it can become: a site that draws less finds more left.
        """
        now = self._clock.now()
        first = self._reading(now)
        later = self._ahead(self._demand(now), now, min(now + horizon, self._scenario.end))
        return [first, *(replace(first, value=value, measured_at=at) for at, value in later if at > now)]

    def going_on(self, until: Seconds) -> StepFunction:
        """Return what the traces say from now if the site goes on to draw what it does. See Responsive."""
        now, stop = self._clock.now(), min(until, self._scenario.end)
        first = self._reading(now)
        later = list(self._ahead(self._draw.at(now - self._scenario.begin), now, stop))
        return StepFunction.from_points([(now, first.value), *later[1:], (stop, later[-1][1])])

    def _ahead(self, watts: Watts, now: Seconds, stop: Seconds) -> Iterator[tuple[Seconds, GramsCO2PerKWh]]:
        """Yield the values of [now, stop) if the site draws so much from now on."""
        demand = self._demand(now)
        flow = self._flow.branch(vessim.StaticSignal(watts))
        return self._values(flow, now, stop, lambda at: demand)

    def outlook(self, until: Seconds) -> list[tuple[Seconds, GramsCO2PerKWh]]:
        """Return the series of a site that trains throughout, to `until` or the end of the traces.

        It starts where the scenario begins, and knows of nothing that was fed.
        """
        return self._drawing(self._always(self._scenario.config.train_w), until).points()

    def afresh(self, clock: Timepiece) -> "MicrogridSignal":
        """Return the same microgrid in its initial state, by another clock. See Responsive."""
        return MicrogridSignal(
            self._scenario,
            clock=clock,
            source=self._source,
            synthetic=self._synthetic,
            basis=self._basis,
        )

    def drawing(self, intervals: Sequence[Interval], power: PowerModel, until: Seconds) -> StepFunction:
        """Return the series of a site that does so, from where the scenario begins. See Responsive.

        Raises OutsideTrace where nothing is known.
        """
        return self._drawing(drawn(intervals, power, self._scenario.begin, self._scenario.end), until)

    def greenest(self, until: Seconds) -> StepFunction:
        """Return the lower one, at each moment, of a site that is off and of one that trains throughout.

        No site's battery is fuller than that of one that is off, nor emptier than that of one that trains, so
        no value lies outside of theirs. See Responsive.
        """
        off, on = (self._drawing(self._always(w), until) for w in (0.0, self._scenario.config.train_w))
        return StepFunction(edges=off.edges, values=tuple(map(min, off.values, on.values)))

    def _always(self, watts: Watts) -> StepFunction:
        return StepFunction(edges=(self._scenario.begin, self._scenario.end), values=(watts,))

    def _drawing(self, watts: StepFunction, until: Seconds) -> StepFunction:
        """Return the series of a site that draws `watts`, known over the scenario."""
        scenario = self._scenario
        stop = min(until, scenario.end)
        if stop <= scenario.begin:
            raise OutsideTrace(f"{self._source} says nothing between run time 0 and {until:g} s")
        train_w = scenario.config.train_w
        flow = Flow(scenario, KnownDraw(watts), scenario.battery())
        above = max(watts.values) > train_w  # else what is drawn changes no demand
        more = [low for low, _, _ in watts.pieces(scenario.begin, stop)] if above else []
        points = list(
            self._values(flow, scenario.begin, stop, lambda at: max(train_w, watts.at(at)), more=more)
        )
        return StepFunction.from_points([*points, (stop, points[-1][1])])

    def close(self) -> None:
        """Nothing to let go of."""

    def _reading(self, now: Seconds) -> Reading:
        scenario = self._scenario
        if not scenario.intensity.covers(now, now):
            raise OutsideTrace(
                f"{self._source} covers run time {scenario.begin:g} to {scenario.end:g} s; it is {now:g} s: "
                "give traces that cover it"
            )
        value = self._value(now, self._sustained(self._flow, now), self._demand(now))
        return Reading(value=value, measured_at=self._since(now), basis=self._basis)

    def _values(
        self,
        flow: Flow,
        start: Seconds,
        stop: Seconds,
        demand: Callable[[Seconds], Watts],
        *,
        more: Sequence[Seconds] = (),
    ) -> Iterator[tuple[Seconds, GramsCO2PerKWh]]:
        """Yield the values from each moment of [start, stop) on at which one may change; `more` are some."""
        for at in sorted({start, *self._changes(start, stop), *more}):
            yield at, self._value(at, self._sustained(flow, at), demand(at))

    def _series(self) -> list[StepFunction]:
        """Return the series that the values rest on."""
        production = self._scenario.production
        return [self._scenario.intensity, *([production] if self._surplus and production else [])]

    def _changes(self, start: Seconds, stop: Seconds) -> Iterator[Seconds]:
        """Yield the moments of [start, stop) at which a value may change, some twice."""
        for part in self._series():
            yield from (low for low, _, _ in part.pieces(start, stop))
        if self._stores:
            tick = self._tick_before(start)
            while tick < stop:
                if tick >= start:
                    yield tick
                tick += self._scenario.config.step_s

    def _since(self, now: Seconds) -> Seconds:
        since = max(part.since(now) for part in self._series())
        return max(since, self._tick_before(now)) if self._stores else since

    def _tick_before(self, at: Seconds) -> Seconds:
        begin, step_s = self._scenario.begin, self._scenario.config.step_s
        return begin + (at - begin) // step_s * step_s

    def _sustained(self, flow: Flow, at: Seconds) -> Watts:
        """Play a flow up to a moment; return what its battery can sustain then, as far as that matters."""
        if not self._stores:
            return 0.0
        flow.advance(at)
        return flow.stored_w()

    def _demand(self, now: Seconds) -> Watts:
        return max(self._scenario.config.train_w, self._draw.at(now - self._scenario.begin))

    def _value(self, at: Seconds, stored: Watts, demand: Watts) -> GramsCO2PerKWh:
        config, elapsed = self._scenario.config, at - self._scenario.begin
        grid = float(self._grid.at(elapsed))
        if not self._surplus or self._production is None or config.production is None:
            return grid
        spare = max(0.0, float(self._production.at(elapsed)) + stored - config.base_load_w)
        share = min(1.0, spare / demand)
        return share * config.production.g_per_kwh + (1.0 - share) * grid
