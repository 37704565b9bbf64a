"""The state of a simulated run, by ground truth: what a record says can be compared with it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

from curtail_dist.data.ledger import Assignment, Offset, take
from curtail_dist.membership.records import Work
from curtail_dist.units import Seconds

Span = tuple[int, int, int]
"""(position, first token, last token + 1) of a row that was trained on."""


def digest(*parts: object) -> str:
    """Return a name that differs where the parts do."""
    return blake2b(repr(parts).encode(), digest_size=10).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Payload:
    """One site's encoded pseudo-gradient: which tokens it was really trained on, and from where."""

    id: str
    site: str
    base: str
    """Hash of the state that training began from."""
    spans: tuple[Span, ...]
    """Of the round that it ends."""
    parts: Mapping[int, tuple[Span, ...]]
    """By fragment that it holds: all that was trained since that was last exchanged."""
    steps: int
    finite: bool

    @property
    def tokens(self) -> int:
        """Tokens trained on."""
        return sum(last - first for _, first, last in self.spans)


@dataclass(frozen=True, kw_only=True)
class State:
    """S(n): its parent and what was added to it. Equal hashes mean equal contents."""

    hash: str
    parent: "State | None" = field(default=None, repr=False)
    payloads: tuple[Payload, ...] = ()

    @classmethod
    def fresh(cls) -> "State":
        """Return the initial state, the same at every site."""
        return cls(hash=digest("initial"))

    def stepped(self, weighted: Sequence[tuple[Payload, object]]) -> "State":
        """Return the state after an outer step with payloads and their weights, in this order."""
        given = [(payload.id, weight) for payload, weight in weighted]
        payloads = tuple(payload for payload, _ in weighted)
        return State(hash=digest(self.hash, given), parent=self, payloads=payloads)

    def chain(self) -> Iterator["State"]:
        """Yield this state and its ancestors, newest first."""
        state: State | None = self
        while state is not None:
            yield state
            state = state.parent


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """The rows of a run and how long they are."""

    rows: int
    longest: int
    """Tokens of the longest row."""
    salt: int

    def length(self, position: int) -> int:
        """Return the tokens of a row."""
        return 1 + (position * 2654435761 + self.salt * 40503 >> 7) % self.longest


@dataclass(kw_only=True)
class OpenRound:
    """What one process has trained since it last stood on a version."""

    spans: list[Span] = field(default_factory=list[Span])
    steps: int = 0
    seconds: Seconds = 0.0
    ahead: int = 0
    """Steps of those that were done while the exchange before was under way."""
    rows: int = 0
    """Rows of the assignment that are finished."""
    reached: Offset | None = None
    """The row begun and not finished, and how far."""
    payload: Payload | None = None

    def step(self, corpus: Corpus, assignment: Assignment, begun: dict[int, int], tokens: int) -> None:
        """Train on the next `tokens` tokens of the assignment, fewer if there are no more."""
        self.steps += 1
        while tokens > 0 and not self.exhausted(assignment):
            position = _position(assignment, self.rows)
            first = self.reached[1] if self.reached else begun.get(position, 0)
            length = corpus.length(position)
            last = min(length, first + tokens)
            tokens -= last - first
            self.spans.append((position, first, last))
            if last == length:
                self.rows, self.reached = self.rows + 1, None
            else:
                self.reached = (position, last)

    @property
    def touched(self) -> int:
        """Rows of the assignment that are begun or finished."""
        return self.rows + (self.reached is not None)

    def exhausted(self, assignment: Assignment) -> bool:
        """Whether no assigned row is left."""
        return self.rows >= sum(last - first for first, last in assignment.rows)

    def work(self, site: str, assignment: Assignment) -> Work:
        """Return what the site says of it."""
        tokens = sum(last - first for _, first, last in self.spans)
        open = (self.reached,) if self.reached else ()
        rows = take(assignment.rows, self.rows)
        return Work(site=site, tokens=tokens, steps=self.steps, rows=rows, open=open)


@dataclass(kw_only=True)
class Behind:
    """What one process has trained in earlier rounds that is not in every fragment yet."""

    spans: dict[int, list[Span]] = field(default_factory=dict[int, list[Span]])
    """By fragment: since that was last exchanged."""
    rounds: list[tuple[int, set[int]]] = field(default_factory=list[tuple[int, set[int]]])
    """Steps of each round, and the fragments that lack it."""

    @property
    def steps(self) -> int:
        """Inner steps that some fragment lacks."""
        return sum(steps for steps, _ in self.rounds)

    def of(self, fragment: int) -> tuple[Span, ...]:
        """Return what one fragment lacks."""
        return tuple(self.spans.get(fragment, ()))

    def moved(self, which: Sequence[int], fragments: int, round: OpenRound) -> None:
        """Some fragments were exchanged with a round; to the others it is added."""
        for fragment in range(fragments):
            if fragment in which:
                self.spans[fragment] = []
            else:
                self.spans.setdefault(fragment, []).extend(round.spans)
        lacking = [*self.rounds, (round.steps, set(range(fragments)))]
        self.rounds = [(steps, left - set(which)) for steps, left in lacking if steps and left - set(which)]


@dataclass(frozen=True, kw_only=True)
class Rest:
    """What is left of an assignment when its round's exchange begins."""

    assignment: Assignment
    delay: int
    """Inner steps to be done on it meanwhile."""


@dataclass(kw_only=True)
class Beyond:
    """What a process has trained beside its open round."""

    behind: Behind = field(default_factory=Behind)
    flying: OpenRound = field(default_factory=OpenRound)
    """What is trained while the exchange of the open round is under way."""
    rest: Rest | None = None
    """What that is trained on, from the round's end to its encoding."""


def _position(assignment: Assignment, index: int) -> int:
    for first, last in assignment.rows:
        if index < last - first:
            return first + index
        index -= last - first
    raise IndexError(index)
