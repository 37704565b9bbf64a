"""The round a site is in: what it was assigned, what it has done, and when it is due."""

import operator
import threading
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from curtail_dist.data.ledger import Assignment, Offset, Range, ahead, drop, take
from curtail_dist.data.loader import positions
from curtail_dist.errors import ConfigError
from curtail_dist.membership.records import Work

B = TypeVar("B")


class OpenRound:
    """Counts one site's work in one round. Rows are taken in the order of the assignment.

    A round may begin while the exchange of the one before is under way, on the rows that this left: it is
    flying then, until it is extended by what is planned once that exchange is over.
    """

    def __init__(
        self,
        site: str,
        assignment: Assignment,
        *,
        leaving: Callable[[], bool],
        closing: Callable[[], bool],
        began: float,
        postponed: Callable[[], bool] = lambda: False,
        after: "OpenRound | None" = None,
    ) -> None:
        """Begin at run time `began`.

        `leaving` says whether this site is to leave at once, `closing` whether another asks for the round's
        end; that is granted after one step, so that requests alone cannot keep a run from moving. `postponed`
        says whether the round is to go on beyond its planned steps, since it could not be committed now.
        `after` is the round before, if its exchange is under way.
        """
        self._site = site
        self.assignment = assignment
        self._leaving = leaving
        self._closing = closing
        self._postponed = postponed
        self.began = began
        self.flying = after is not None
        """Whether the exchange of the round before is under way."""
        self.aloft = after.tokens if after is not None else 0
        """Tokens of that round, at all ranks: no commit that is known here has them."""
        self.steps = 0
        self._limit = assignment.steps
        self.tokens = 0
        self.rows = 0
        """Rows taken, the open one among them."""
        self._last: Offset = (-1, 0)
        self._open: tuple[Offset, ...] = ()
        self._settled: bool | None = None
        self.losses: list[float] = []

    @property
    def due(self) -> bool:
        """Whether no further row is to be taken."""
        return self.due_here if self._settled is None else self._settled

    @property
    def due_here(self) -> bool:
        """Whether this rank finds so."""
        if self._leaving():
            return True
        if self.steps >= self._limit:
            return self.flying or not self._postponed()
        return self.steps > 0 and self._closing()

    def settle(self, due: bool) -> None:
        """Say what the site's ranks found together: that holds until they look again."""
        self._settled = due

    def extend(self, assignment: Assignment, *, closing: Callable[[], bool]) -> None:
        """Go on with what is planned now; `closing` as for a new round.

        Raises AssertionError if it does not begin with the rows there were.
        """
        begun = [list(positions(take(one.rows, self.rows))) for one in (assignment, self.assignment)]
        assert begun[0] == begun[1], "the plan keeps the rows that were ahead"
        self.assignment, self.flying, self.aloft = assignment, False, 0
        self._closing = closing
        self._limit = self.steps + assignment.steps

    def offsets(self) -> Iterator[Offset]:
        """Yield the assigned rows as (position, tokens that the chain has); each one counts as taken."""
        while left := drop(self.assignment.rows, self.rows):
            position = left[0][0]
            self.rows += 1
            self._last = (position, dict(self.assignment.open).get(position, 0))
            yield self._last

    def rest(self, delay: int) -> Assignment:
        """Return what is left to take, the row begun too, for a round of `delay` steps that follows."""
        begun = {**dict(self.assignment.open), **dict(self._open)}
        left = drop(self.assignment.rows, self.rows - len(self._open))
        rows = ahead(left, taken=self.rows, steps=self.steps, delay=delay)
        return Assignment(rows=rows, steps=delay, open=tuple(begun.items()))

    def leave_open(self, tokens: int | None) -> None:
        """Say how many tokens of the last row taken are in batches, None if it is whole in them.

        Raises ConfigError if that is no number of tokens, or no more than were there before.
        """
        if tokens is None:
            self._open = ()
            return
        try:
            whole = operator.index(tokens)
        except TypeError as error:
            raise ConfigError(
                f"open_tokens of a batch is {tokens!r}; it must be a whole number, or None where the last "
                "row ends with the batch"
            ) from error
        position, start = self._last
        before = dict(self._open).get(position, start)
        if whole <= before:
            raise ConfigError(
                f"open_tokens of a batch is {whole}; it must be more than the {before} tokens that the chain "
                "or an earlier batch has of the last row taken: count them from the row's beginning, and "
                "take a row only for a batch that needs it"
            )
        self._open = ((position, whole),)

    def step_done(self, tokens: int) -> None:
        """Count an inner step, over `tokens` tokens at this rank."""
        self.steps += 1
        self.tokens += tokens

    @property
    def work(self) -> Work:
        """What was done so far. Exact between two batches that say what is open, and at the round's end."""
        rows = take(self.assignment.rows, self.rows - len(self._open))
        return Work(site=self._site, tokens=self.tokens, steps=self.steps, rows=rows, open=self._open)

    @property
    def loss(self) -> float | None:
        """Mean of the losses noted."""
        return sum(self.losses) / len(self.losses) if self.losses else None


@runtime_checkable
class Placed(Protocol):
    """A batch that says where in its last row it ends.

    Its `pack` takes a row only when the tokens it holds do not fill the next batch, so that it never holds
    tokens of another row than the last one taken, and it skips the `start` tokens of each row.
    """

    @property
    def open_tokens(self) -> int | None:
        """Tokens of the last row taken, from its beginning, that are in a batch; None if all are."""
        ...


class BatchSource(Generic[B]):
    """Turns the rows of one round after the other into batches, looking ahead only when asked.

    If the batches are `Placed`, no further one is made once the round is due: what `pack` holds then is the
    tail of one row, and the round's work names the place. If they are not, the row iterator ends when the
    round is due and `pack` gives out what it holds, so that every row taken has been in a batch, whatever
    `pack` buffers, and in whichever thread. A row that could not be read ends the round in any case: `pack`
    may pass over what its rows raise, and the row would be done.
    """

    def __init__(
        self,
        pack: Callable[[Iterator[Any]], Iterator[B]],
        read: Callable[[int, int], Any],
        begun: Callable[[Sequence[Range]], None] = lambda _: None,
    ) -> None:
        """Pack rows that `read` gives for a position and the number of tokens that the chain has of it.

        `begun` hears of the rows from which are taken, whenever those are others.
        """
        self._pack = pack
        self._read = read
        self._begun = begun
        self._batches: Iterator[B] = iter(())
        self._next: list[B] = []
        self._round: OpenRound | None = None
        self._placed = False
        self._over = False
        self._unread: BaseException | None = None
        """Why a row could not be read."""
        self._owner = threading.get_ident()
        self._strays = False
        """Whether rows are taken in another thread than that in which batches are asked for."""

    def begin(self, round: OpenRound) -> None:
        """Take rows from `round` from now on; what the last one left is dropped."""
        self._round, self._over = round, False
        self._begun(drop(round.assignment.rows, round.rows))
        self._batches = iter(self._pack(self._rows(round)))
        self._next.clear()

    def has_next(self) -> bool:
        """Whether the round has another batch; makes it if so. Called when the one before is trained on.

        Raises what kept a row from being read, what `pack` raises, and ConfigError for what it may not do.
        """
        if self._next or self._round is None:
            return bool(self._next)
        if self._placed and self._round.due:
            return False
        self._owner = threading.get_ident()
        batch = next(self._batches, None)
        if self._unread is not None:
            raise self._unread
        if batch is None:
            self._over = True
            return False
        self._placed = isinstance(batch, Placed)
        if self._placed and self._strays:
            raise ConfigError(
                "pack takes rows in a thread of its own, ahead of its batches, and these have open_tokens, "
                "which must be those of the last row taken: have it take a row only for the batch that is "
                "asked for, or leave open_tokens out, and rows are counted whole"
            )
        self._round.leave_open(batch.open_tokens if isinstance(batch, Placed) else None)
        self._next.append(batch)
        return True

    def go_on(self) -> None:
        """The round goes on with more rows than it had: rows that `pack` has seen the end of begin anew."""
        if self._over and self._round is not None:
            self.begin(self._round)

    def put(self, batch: B) -> None:
        """Give out a batch that holds no row, in place of the next."""
        self._next.append(batch)

    def pop(self) -> B:
        """Return the batch that `has_next` made. Raises ConfigError if it was not asked for one."""
        if not self._next:
            raise ConfigError(
                "a batch was taken before the step on the last one; call outer.step() on each before another "
                "is taken; a DataLoader with workers takes them ahead: docs/own-script.md has another way"
            )
        return self._next.pop()

    def _rows(self, round: OpenRound) -> Iterator[Any]:
        offsets = round.offsets()
        # A request that comes while a batch is made must not cut that batch short where the next may be cut.
        while self._placed or not round.due:
            offset = next(offsets, None)
            if offset is None:
                return
            self._strays = self._strays or threading.get_ident() != self._owner
            try:
                row = self._read(*offset)
            except BaseException as error:
                self._unread = error
                raise
            yield row


def in_lists(rows: Iterator[B], *, size: int) -> Iterator[list[B]]:
    """Pack rows into lists of `size`, the last one shorter. Raises ConfigError for a size below 1."""
    if not isinstance(size, int) or size < 1:
        raise ConfigError(
            f"batch is {size!r}; it must be a whole number, at least 1, the rows of an inner step"
        )
    while held := list(islice(rows, size)):
        yield held
