"""The round a site is in: what it was assigned, what it has done, and when it is due."""

from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from curtail_dist.data.ledger import Assignment, take
from curtail_dist.data.loader import positions
from curtail_dist.membership.records import Work

B = TypeVar("B")


class OpenRound:
    """Counts one site's work in one round. Rows are taken in the order of the assignment."""

    def __init__(
        self,
        site: str,
        assignment: Assignment,
        *,
        draining: Callable[[], bool],
        closing: Callable[[], bool],
        began: float,
    ) -> None:
        """Begin at run time `began`.

        `draining` says whether this site is to leave, `closing` whether another asks for the round's end;
        that
        is granted after one step, so that requests alone cannot keep a run from moving.
        """
        self._site = site
        self.assignment = assignment
        self._draining = draining
        self._closing = closing
        self.began = began
        self.steps = 0
        self.tokens = 0
        self.rows = 0
        self.losses: list[float] = []

    @property
    def due(self) -> bool:
        """Whether no further row is to be taken."""
        if self.steps >= self.assignment.steps or self._draining():
            return True
        return self.steps > 0 and self._closing()

    def positions(self) -> Iterator[int]:
        """Yield row positions until the round is due or its rows are used up; each one counts as taken."""
        for position in positions(self.assignment.rows):
            if self.due:
                return
            self.rows += 1
            yield position

    def step_done(self, tokens: int) -> None:
        """Count an inner step."""
        self.steps += 1
        self.tokens += tokens

    @property
    def work(self) -> Work:
        """What was done so far. Exact at the round's end, when every row taken has been trained on."""
        rows = take(self.assignment.rows, self.rows)
        return Work(site=self._site, tokens=self.tokens, steps=self.steps, rows=rows)

    @property
    def loss(self) -> float | None:
        """Mean of the losses noted."""
        return sum(self.losses) / len(self.losses) if self.losses else None


class BatchSource(Generic[B]):
    """Turns the rows of one round after the other into batches, looking ahead only when asked.

    A round's row iterator ends when the round is due; `pack` then gives out what it holds, so that every row
    taken has been in a batch when the round is over, whatever `pack` buffers.
    """

    def __init__(self, pack: Callable[[Iterator[Any]], Iterator[B]], read: Callable[[int], Any]) -> None:
        """Pack rows that `read` gives for positions."""
        self._pack = pack
        self._read = read
        self._batches: Iterator[B] = iter(())
        self._next: list[B] = []

    def begin(self, round: OpenRound) -> None:
        """Take rows from `round` from now on."""
        self._batches = iter(self._pack(self._read(position) for position in round.positions()))
        self._next.clear()

    def has_next(self) -> bool:
        """Whether the round has another batch; makes it if so."""
        if not self._next:
            self._next.extend(batch for batch in (next(self._batches, None),) if batch is not None)
        return bool(self._next)

    def pop(self) -> B:
        """Return the batch that `has_next` made."""
        return self._next.pop()
