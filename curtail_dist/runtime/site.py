"""What a training script holds: `with Site(...) as site`, rows in, steps out."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, Self, TypeVar, overload

import torch
from torch.distributed import ProcessGroup

from curtail_dist.config import RunConfig
from curtail_dist.data.ledger import Range
from curtail_dist.data.loader import Row
from curtail_dist.data.obtain import Obtained
from curtail_dist.errors import ConfigError, StoreUnavailable
from curtail_dist.membership.keys import Keys
from curtail_dist.membership.records import Commit
from curtail_dist.membership.view import View
from curtail_dist.outer.optimizer import DiLoCo
from curtail_dist.outer.said import loss_of
from curtail_dist.outer.settings import OuterSettings
from curtail_dist.runtime.estimate import tokens_by_now
from curtail_dist.runtime.follower import Follower
from curtail_dist.runtime.inner_loop import InnerLoop, Part
from curtail_dist.runtime.intrasite import OneRank, SiteRanks, open_ranks
from curtail_dist.runtime.links import Links, connected
from curtail_dist.runtime.open_round import BatchSource, in_lists
from curtail_dist.runtime.participation import Participation
from curtail_dist.runtime.site_data import SiteData
from curtail_dist.runtime.step_log import StepLog
from curtail_dist.runtime.supply import Address
from curtail_dist.runtime.world import Probe
from curtail_dist.security import open_wire
from curtail_dist.telemetry.events import Event, Fetched
from curtail_dist.telemetry.joining import JoinTimes, process_age

B = TypeVar("B")
T = TypeVar("T")


class Site:
    """One site of a run, in the process that trains, or in each of them. Use as a context manager.

    A site may have several ranks, which torchrun starts and whose gradients the script averages: rank 0 takes
    part in the run, the others follow it. All take the same number of steps. The script calls
    `torch.distributed.init_process_group()` before it enters the site, and at its end
    `destroy_process_group()`, without which a rank may abort as it ends. Where one torchrun holds several
    sites, its ranks name each their own, and the script averages gradients over `group` alone.

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
                thread or that of an exchange under way: for tests that break things at a named point.

        Raises:
            ConfigError: the run file has no such site, or the run's secret is none.
            DataError: the data set's manifest is missing or garbled.
        """
        self._times = JoinTimes.from_environment(
            os.environ, unix_now=time.time(), age_s=process_age(), now=time.monotonic
        )
        self._times.mark("import")
        config.site(name)
        self.name = name
        self._config = config
        self._program = dict(program or {})
        self._probe = probe
        self._wire = open_wire(config)
        self._data = SiteData(
            config,
            site=name,
            wire=self._wire,
            givers=self._givers,
            progress=self._make_progress,
            told=self._fetched,
        )
        self._times.mark("data")
        self._leaving = threading.Event()
        self._told = False
        self._stack = ExitStack()
        self._links: Links | None = None
        self._part: Part | None = None
        self._heard: Sequence[Address] = ()
        self._ranks: SiteRanks = OneRank()
        self._loop: InnerLoop[Any] | None = None
        self._steps: StepLog | None = None

    def __enter__(self) -> Self:
        """Connect. Raises StoreUnavailable, and ConfigError, RankLost at a site of several ranks."""
        self._ranks = open_ranks(self.name)
        with ExitStack() as stack:
            if threading.current_thread() is threading.main_thread():
                stack.callback(signal.signal, signal.SIGTERM, signal.signal(signal.SIGTERM, self._on_term))
            if self._ranks.rank == 0:
                links = connected(
                    self._config,
                    self.name,
                    wire=self._wire,
                    leaving=self._leaving,
                    ranks=self._ranks,
                    times=self._times,
                    probe=self._probe,
                )
                self._links = stack.enter_context(links)
                self._steps = StepLog(self._links.events, every=self._config.telemetry.step_every)
            stack.callback(self._data.close)
            self._data.start()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave."""
        self.close()

    def close(self) -> None:
        """Give up the seat and the lease, close connections; idempotent and bounded."""
        self._stack.close()

    def _on_term(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self._told:
            raise SystemExit(128 + number)
        self._told = True
        self._leaving.set()

    @property
    def group(self) -> ProcessGroup | None:
        """The process group over which the script averages gradients: of this site's ranks alone.

        None means the default group, where that is of this site alone, and where there is none.
        """
        return self._ranks.group

    @property
    def outer_settings(self) -> OuterSettings:
        """What the run sets about its outer step."""
        return OuterSettings.of(self._config.outer)

    def obtain(self, path: Path, sha256: str) -> Path:
        """Have a file here that training needs besides its rows (a tokenizer, say); return its path.

        If there is none with this hash at `path`, it comes from another site, each of which gives the files
        that it obtained itself, or from below the manifest's `url`. All ranks of a site call this together,
        inside the site and before the optimizer is made.

        Args:
            path: Where it is, or is to be.
            sha256: Of the file, in hex.

        Raises:
            DataError: It is not here and does not come from anywhere.
        """
        if self._part is None and self._ranks.size > 1:
            told = self._ranks.tell(json.dumps(self._givers()).encode())
            self._heard = [(str(host), int(port)) for host, port in json.loads(told)]
        self._data.obtain(path, sha256)
        self._times.mark("data")
        return path

    def obtain_held_out(self) -> None:
        """Have the shards here that are never trained on, as `obtain` has a file. Raises DataError."""
        self._data.obtain_held_out()
        self._times.mark("data")

    def identify(self, **program: str) -> None:
        """Add hashes of what must be equal at all sites to `program`, before the optimizer is made."""
        self._program |= program

    def joining(self, cause: str) -> None:
        """Say what the time since the last such word went to, before this site is in the run; optional.

        `load` (model and tokenizer), `compile`, `data` or `import`; see the `joined` event.
        """
        self._times.mark(cause)

    def attach(self, outer: DiLoCo) -> None:
        """Enter the run with this optimizer's model; called once, by DiLoCo.

        When it returns the model holds the run's state, or the site was asked to leave and `batches` is
        empty.
        Raises ConfigError if the site has one, IdentityMismatch, StateError, StoreUnavailable.
        """
        if self._part is not None:
            raise ConfigError(
                f"a second DiLoCo is made with site {self.name}; a run trains one model: put what is trained "
                "together into one torch.nn.ModuleList, and all its parameters into one inner optimizer"
            )
        self._part = part = self._make_part(outer)
        if self._steps is not None:
            self._steps.watch(outer.inner)
        self._times.mark("load")
        self._data.expect(part.upcoming(), stop=self._leaving.is_set)
        self._times.mark("data")
        part.start()

    def _make_part(self, outer: DiLoCo) -> Part:
        if self._ranks.rank:
            return Follower(self._config, self.name, self._ranks, outer)
        links = self._need(self._links, "enter the site first: `with Site(...) as site`")
        part = Participation(
            links,
            outer,
            total_rows=self._data.total_rows,
            data=self._data.hash,
            program=self._program,
            file_of=self._data.place_of,
        )
        self._stack.callback(part.close)
        links.clock.arrive()
        return part

    def batches(
        self, pack: Callable[[Iterator[Row]], Iterator[B]], *, empty: Callable[[], B] | None = None
    ) -> Iterator[B]:
        """Iterate over batches of this rank's rows, until the run is complete or the site drains.

        One loop does: what is left inside a round cannot be begun anew. To do something else between two
        batches keep the iterator, `batches = site.batches(pack)`, and go on with it.

        Args:
            pack: Turns an iterator of rows into batches. It is called once a round; when its rows end it must
                give out what it still holds, so that every row it took has been in a batch. It may take rows
                ahead, in a thread of its own too. A row that cannot be read ends the site, whatever it does.
            empty: Makes a batch without tokens. The ranks of a site take all steps together: this is what one
                trains on when only others have rows left. Needed at a site of several ranks.

        A batch may have an attribute `open_tokens`: how many tokens of the last row taken, counted from the
        row's beginning, are in this batch or an earlier one, or None where all of them are. Then a round
        ends without asking `pack` for the tail of that row, and whoever gets the row next sees in its
        `start` how many tokens to skip. Set it only in a `pack` that skips `start` tokens and takes a row
        only when what it holds does not fill the next batch, none ahead: it may hold tokens of no other row.
        """

        def begun(rows: Sequence[Range]) -> None:
            self._data.read_next(rows, self.head)

        return self._iterate(BatchSource(pack, self._data.row, begun), empty)

    @overload
    def indices(self, *, empty: int | None = None) -> Iterator[int]: ...
    @overload
    def indices(self, *, batch: int) -> Iterator[list[int]]: ...
    def indices(self, *, batch: int | None = None, empty: int | None = None) -> Iterator[Any]:
        """Iterate over row numbers for a user's own data set: one for each inner step, or a list of `batch`.

        A list at a round's end may be shorter. At a site of several ranks a rank that has no rows left while
        others have gets an empty list, or, without `batch`, the number `empty`: it takes the step with them.
        """
        if batch is not None:
            return self._iterate(BatchSource(partial(in_lists, size=batch), self._number), list[int])
        make = None if empty is None else lambda: empty
        return self._iterate(BatchSource(iter, self._number), make)

    def _number(self, position: int, start: int) -> int:
        del start
        return self._data.number(position)

    def step_done(self, tokens: int) -> None:
        """Count an inner step; called by `DiLoCo.step`. Ends the round if this was its last step.

        Raises ConfigError where no batch was taken since the last one.
        """
        loop = self._need(self._loop, "call outer.step() inside the loop over site.batches()")
        if self._links is not None:
            self._links.clock.spend(self._config.clock.step_s)
        tally = loop.step_done(tokens)
        if self._steps is not None and loop.round is not None:
            self._steps.done(loop.round, tally)
        loop.go_on()

    def note_loss(self, loss: float | torch.Tensor) -> None:
        """Say what the training loss of the inner step under way is (nats per token); optional.

        Raises ConfigError for what is no single number, and outside of a step.
        """
        value = loss_of(loss)
        loop = self._need(self._loop, "call note_loss() inside the loop over site.batches()")
        loop.stepping.losses.append(value)

    def record(self, event: Event) -> None:
        """Add an event of the rank program's own to the run's record; only rank 0 of a site writes one."""
        if self._ranks.rank == 0:
            links = self._need(self._links, "enter the site first: `with Site(...) as site`")
            links.events.emit(event)

    @property
    def head(self) -> Commit | None:
        """The commit this site stands on; None while it has no part in the run."""
        return self._part.head if self._part is not None else None

    @property
    def leads(self) -> bool:
        """Whether this is rank 0 of the site that comes first in the epoch: the one to evaluate, say."""
        return self._part is not None and self._part.leads

    @property
    def tokens(self) -> int:
        """Global tokens: those committed, and an estimate of those of the open round at all sites.

        Those of a round whose exchange is under way count, too. Sites are taken to train as fast as in the
        last round. All ranks of a site see the same.
        """
        head, part = self.head, self._part
        if head is None or part is None:
            return 0
        round = self._loop.round if self._loop is not None else None
        done = round.aloft + round.tokens if round is not None else 0
        return tokens_by_now(head, self.name, done=done, members=part.size)

    def _iterate(self, source: BatchSource[B], empty: Callable[[], B] | None) -> Iterator[B]:
        part = self._need(self._part, "make the optimizer first: cd.DiLoCo(site, model, inner)")
        if self._loop is not None:
            self._loop.expect_end()
        self._loop = InnerLoop(part, self._ranks, source, empty=empty, leaving=self._leaving)
        return iter(self._loop)

    def _givers(self) -> Sequence[Address]:
        """State servers that may have a file: those of other living sites."""
        if self._part is not None:
            return self._part.givers
        if self._links is None:
            return self._heard
        keys = Keys(self._config.run.name)
        try:
            entries = self._links.store.list(keys.members).entries
        except StoreUnavailable:
            return ()
        return View(keys=keys, entries={one.key: one for one in entries}).state_servers(but=self.name)

    def _make_progress(self) -> None:
        if self._part is not None:
            self._part.step_done()

    def _fetched(self, file: str, what: Obtained) -> None:
        if self._links is not None:
            self._links.events.emit(
                Fetched(file=file, source=what.source, bytes=what.came_bytes, seconds=what.seconds)
            )

    @staticmethod
    def _need(value: T | None, do: str) -> T:
        if value is None:
            raise ConfigError(f"the site is not ready for this call; {do}")
        return value
