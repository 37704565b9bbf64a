"""What a training script holds: `with Site(...) as site`, rows in, steps out."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from types import FrameType
from typing import Any, Self, TypeVar

from curtail_dist.clock import open_clock
from curtail_dist.config import RunConfig
from curtail_dist.coordination import open_store
from curtail_dist.data.loader import Row, RowOrder, RowReader
from curtail_dist.data.manifest import read_manifest
from curtail_dist.errors import ConfigError
from curtail_dist.membership.records import Commit
from curtail_dist.membership.run_start import run_start
from curtail_dist.outer.anchor import OuterFactory
from curtail_dist.outer.nesterov import Average, Nesterov
from curtail_dist.outer.optimizer import DiLoCo
from curtail_dist.runtime.open_round import BatchSource, OpenRound
from curtail_dist.runtime.participation import Links, Participation
from curtail_dist.runtime.world import Probe
from curtail_dist.telemetry.events import Event, Step
from curtail_dist.telemetry.joining import JoinTimes, process_age
from curtail_dist.telemetry.record import EventLog

B = TypeVar("B")
T = TypeVar("T")


class Site:
    """One site of a run, in the process that trains. Use as a context manager.

    SIGTERM, or its agent's request, makes it end the open round and leave in order: `batches` then ends. A
    second SIGTERM ends the process at once; its open round is lost.
    """

    def __init__(
        self,
        config: RunConfig,
        name: str,
        *,
        program: Mapping[str, str] | None = None,
        probe: Probe | None = None,
    ) -> None:
        """Prepare; nothing outside is contacted yet.

        Args:
            config: The run file.
            name: This site's name in it.
            program: Hashes, by name, of what else must be equal at all sites (the tokenizer, say).
            probe: Called with the name of each step of the protocol before it is taken, in the training
                thread: for tests that break things at a named point.

        Raises:
            ConfigError: the run file has no such site, or this process is one of several ranks.
            DataError: the data set's manifest is missing or garbled.
        """
        self._times = JoinTimes.from_environment(
            os.environ, unix_now=time.time(), age_s=process_age(), now=time.monotonic
        )
        self._times.mark("import")
        config.site(name)
        if int(os.environ.get("WORLD_SIZE", "1")) != 1:
            raise ConfigError(f"WORLD_SIZE is {os.environ['WORLD_SIZE']}; this version takes 1 rank a site")
        self.name = name
        self._config = config
        self._program = dict(program or {})
        self._probe = probe
        self._manifest = read_manifest(config.data.manifest)
        self._order = RowOrder(rows=self._manifest.rows, passes=config.data.passes, seed=config.run.seed)
        self._reader = RowReader(self._manifest)
        self._times.mark("data")
        self._leaving = threading.Event()
        self._stack = ExitStack()
        self._links: Links | None = None
        self._part: Participation | None = None
        self._round: OpenRound | None = None
        self._source: BatchSource[Any] | None = None
        self._unlogged = (0, 0)

    def __enter__(self) -> Self:
        """Connect. Raises StoreUnavailable."""
        config = self._config
        with ExitStack() as stack:
            store = stack.enter_context(open_store(config.coordination))
            start = run_start(config, store)
            clock = open_clock(config.clock, start=start, participant=f"rank:{self.name}", kind="work")
            stack.callback(clock.close)
            process = f"rank-{os.getpid()}"
            events = stack.enter_context(
                EventLog(config.run.directory, site=self.name, process=process, clock=clock)
            )
            if threading.current_thread() is threading.main_thread():
                stack.callback(signal.signal, signal.SIGTERM, signal.signal(signal.SIGTERM, self._on_term))
            self._stack = stack.pop_all()
        self._links = Links(
            config=config,
            site=self.name,
            store=store,
            start=start,
            clock=clock,
            events=events,
            leaving=self._leaving,
            times=self._times,
            probe=self._probe,
        )
        return self

    def __exit__(self, *_: object) -> None:
        """Leave."""
        self.close()

    def close(self) -> None:
        """Give up the seat and the lease, close connections; idempotent and bounded."""
        self._stack.close()

    def _on_term(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self._leaving.is_set():
            raise SystemExit(128 + number)
        self._leaving.set()

    @property
    def outer_factory(self) -> OuterFactory:
        """The run's outer optimizer."""
        outer = self._config.outer
        if outer.optimizer == "average":
            return Average
        return lambda params: Nesterov(params, lr=outer.lr, momentum=outer.momentum)

    def joining(self, cause: str) -> None:
        """Say what the time since the last such word went to, before this site is in the run; optional.

        `load` (model and tokenizer), `compile`, `data` or `import`; see the `joined` event.
        """
        self._times.mark(cause)

    def attach(self, outer: DiLoCo) -> None:
        """Enter the run with this optimizer's model; called once, by DiLoCo.

        When it returns the model holds the run's state, or the site was asked to leave and `batches` is
        empty.
        Raises IdentityMismatch, StateError, StoreUnavailable.
        """
        links = self._need(self._links, "enter the site first: `with Site(...) as site`")
        part = Participation(
            links, outer, total_rows=self._order.total, data=self._manifest.hash, program=self._program
        )
        self._stack.callback(part.close)
        self._times.mark("load")
        links.clock.arrive()
        part.start()
        self._part = part

    def batches(self, pack: Callable[[Iterator[Row]], Iterator[B]]) -> Iterator[B]:
        """Iterate over batches of this site's rows, until the run is complete or the site drains.

        Args:
            pack: Turns an iterator of rows into batches. It is called once a round; when its rows end it must
                give out what it still holds, so that every row it took has been in a batch.

        A batch may have an attribute `open_tokens`: how many tokens of the last row taken, counted from the
        row's beginning, are in this batch or an earlier one, or None where all of them are. Then a round
        ends without asking `pack` for the tail of that row, and whoever gets the row next sees in its
        `start` how many tokens to skip. Set it only in a `pack` that skips `start` tokens and takes a row
        only when what it holds does not fill the next batch: it may hold tokens of no other row.
        """

        def read(position: int, start: int) -> Row:
            return replace(self._reader[self._order.row(position)], start=start)

        return self._iterate(pack, read)

    def indices(self) -> Iterator[int]:
        """Iterate over row numbers for a user's own data set, one for each inner step."""
        return self._iterate(iter, lambda position, _: self._order.row(position))

    def step_done(self, tokens: int) -> None:
        """Count an inner step; called by `DiLoCo.step`. Ends the round if this was its last step."""
        links = self._need(self._links, "enter the site first: `with Site(...) as site`")
        round = self._need(self._round, "call outer.step() inside the loop over site.batches()")
        links.clock.spend(self._config.clock.step_s)
        round.step_done(tokens)
        self._need(self._part, "make the optimizer first: cd.DiLoCo(site, model, inner)").step_done()
        self._log_step(links, round, tokens)
        self._advance()

    def note_loss(self, loss: float) -> None:
        """Say what the training loss of the inner step under way is (nats per token); optional."""
        self._need(self._round, "call note_loss() inside the loop over site.batches()").losses.append(loss)

    def record(self, event: Event) -> None:
        """Add an event of the rank program's own to the run's record."""
        self._need(self._links, "enter the site first: `with Site(...) as site`").events.emit(event)

    @property
    def head(self) -> Commit | None:
        """The commit this site stands on; None while it has no part in the run."""
        return self._part.head if self._part is not None else None

    @property
    def leads(self) -> bool:
        """Whether this is the epoch's lowest rank: the one to evaluate, say."""
        return self._part is not None and self._part.rank == 0

    @property
    def tokens(self) -> int:
        """Global tokens: those committed, and an estimate of those of the open round at all sites."""
        head, part, round = self.head, self._part, self._round
        if head is None or part is None:
            return 0
        return head.tokens + (round.tokens * part.size if round is not None else 0)

    def _iterate(
        self, pack: Callable[[Iterator[Any]], Iterator[B]], read: Callable[[int, int], Any]
    ) -> Iterator[B]:
        part = self._need(self._part, "make the optimizer first: cd.DiLoCo(site, model, inner)")
        source: BatchSource[B] = BatchSource(pack, read)
        self._source = source
        self._round = part.begin_round()
        if self._round is not None:
            source.begin(self._round)
            self._advance()
        while self._round is not None:
            yield source.pop()
        self._source = None

    def _advance(self) -> None:
        """Make the next batch ready, ending rounds and beginning others as they are due."""
        part = self._need(self._part, "make the optimizer first: cd.DiLoCo(site, model, inner)")
        source = self._need(self._source, "iterate over site.batches() first")
        while self._round is not None and not source.has_next():
            part.end_round(self._round)
            self._round = part.begin_round()
            if self._round is not None:
                source.begin(self._round)

    def _log_step(self, links: Links, round: OpenRound, tokens: int) -> None:
        steps, logged = self._unlogged[0] + 1, self._unlogged[1] + tokens
        self._unlogged = (steps, logged)
        if steps >= self._config.telemetry.step_every or round.due:
            loss = round.losses[-1] if round.losses else None
            links.events.emit(Step(steps=steps, tokens=logged, rows=round.rows, loss=loss))
            self._unlogged = (0, 0)

    @staticmethod
    def _need(value: T | None, do: str) -> T:
        if value is None:
            raise ConfigError(f"the site is not ready for this call; {do}")
        return value
