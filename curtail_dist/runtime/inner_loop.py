"""The training loop's side of a site: gives out batches, counts inner steps, ends rounds that are due."""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from curtail_dist.data.ledger import Range
from curtail_dist.errors import ConfigError
from curtail_dist.membership.records import Commit
from curtail_dist.runtime.intrasite import SiteRanks, Tally
from curtail_dist.runtime.open_round import BatchSource, OpenRound

B = TypeVar("B")


@dataclass(frozen=True, kw_only=True)
class Upcoming:
    """Rows that a site is likely to be assigned."""

    rows: tuple[Range, ...] = ()
    vague: bool = False
    """Whether no round has been done yet, so that they are far more than a round needs."""


class Part(Protocol):
    """This process's part in the run: the site's own, or that of a rank which follows."""

    @property
    def head(self) -> Commit | None:
        """The commit whose state this site holds, None before it entered."""
        ...

    @property
    def leads(self) -> bool:
        """Whether this is rank 0 of the site that comes first in the epoch."""
        ...

    @property
    def size(self) -> int:
        """Members of the epoch."""
        ...

    @property
    def givers(self) -> Sequence[tuple[str, int]]:
        """Host and port of the state servers that may have files which this rank lacks."""
        ...

    def upcoming(self) -> "Upcoming":
        """Return which rows this site would do, if it came into the run now."""
        ...

    def start(self) -> None:
        """Come into the run, up to the first inner step."""
        ...

    def begin_round(self) -> OpenRound | None:
        """Open the next round; None when the run is complete or this site has left."""
        ...

    def end_round(self, round: OpenRound) -> OpenRound | None:
        """End the open round with the others; return the next, which may be the same one, extended."""
        ...

    def step_done(self) -> None:
        """Say that an inner step is done; raises what must end the process."""
        ...


class InnerLoop(Generic[B]):
    """Iterates over one rank's batches, over all rounds of the site's stay in the run."""

    def __init__(
        self,
        part: Part,
        ranks: SiteRanks,
        source: BatchSource[B],
        *,
        empty: Callable[[], B] | None,
        leaving: threading.Event,
    ) -> None:
        """Take batches from `source`, and from `empty` where another rank has one left and this has none.

        Raises ConfigError without `empty` at a site of several ranks.
        """
        if ranks.size > 1 and empty is None:
            raise ConfigError(
                f"the site has {ranks.size} ranks, which take all steps together; give batches() or "
                "indices() the argument `empty`: what a rank trains on when only others have rows left"
            )
        self._part = part
        self._ranks = ranks
        self._source = source
        self._empty = empty
        self._leaving = leaving
        self.round: OpenRound | None = None
        """The round under way."""
        self._taken = False
        """Whether a batch was given out on which no step was done yet."""

    def __iter__(self) -> Iterator[B]:
        """Give out one batch an inner step; the round moves on in `step_done`."""
        self._open(self._part.begin_round())
        self.go_on()
        while self.round is not None:
            batch = self._source.pop()
            self._taken = True
            yield batch

    def expect_end(self) -> None:
        """Raise ConfigError if this loop was left inside a round, whose steps are in the parameters."""
        if self.round is not None and (self.round.steps or self.round.flying):
            raise ConfigError(
                f"the loop over site.batches() or site.indices() was left after {self.round.steps} steps of "
                "a round and is begun anew, which would train the same rows again; there must be one loop: "
                "keep its iterator, batches = site.batches(pack), and go on with that"
            )

    @property
    def stepping(self) -> OpenRound:
        """The round of the inner step under way. Raises ConfigError where none is: each batch has one."""
        if self.round is None or not self._taken:
            raise ConfigError(
                "no batch was taken since the last step; call outer.step(), and note_loss() before it, once "
                "for each batch of the loop over site.batches() or site.indices()"
            )
        return self.round

    def step_done(self, tokens: int) -> Tally:
        """Count the inner step on the last batch; return what all ranks did in it. `go_on` comes next.

        Raises ConfigError where it was counted before.
        """
        round = self.stepping
        self._taken = False
        round.step_done(tokens)
        tally = self._agree(round, tokens)
        self._part.step_done()
        return tally

    def go_on(self) -> None:
        """Make the next batch ready, ending rounds and beginning others as they are due."""
        while self.round is not None and not self._has_batch():
            self._open(self._part.end_round(self.round))

    def _open(self, round: OpenRound | None) -> None:
        goes_on, self.round = round is self.round, round
        if round is None:
            return
        self._agree(round, 0)
        if goes_on:
            self._source.go_on()
        else:
            self._source.begin(round)

    def _has_batch(self) -> bool:
        here = self._source.has_next()
        anywhere = self._ranks.any(here)
        if anywhere and not here and self._empty is not None:
            self._source.put(self._empty())
        return anywhere

    def _agree(self, round: OpenRound, tokens: int) -> Tally:
        """Tell the other ranks where this one is; the round is due for all when it is for rank 0."""
        tally = self._ranks.agree(
            Tally(tokens=tokens, rows=round.rows, due=round.due_here, leaving=self._leaving.is_set())
        )
        round.tokens += tally.tokens - tokens  # its own are counted
        if self._ranks.size > 1:
            round.settle(tally.due)
        if tally.leaving:
            self._leaving.set()
        return tally
