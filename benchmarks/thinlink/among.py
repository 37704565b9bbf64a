"""What one of N sites has to do for a sync, by the library's own code and without the other N - 1."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from curtail_dist.data.ledger import Assignment, ahead, drop, take
from curtail_dist.membership.decisions import next_commit, plan_round
from curtail_dist.membership.fragments import keeping
from curtail_dist.membership.records import Card, Commit, Epoch, Member, Work
from curtail_dist.outer.exchange import Exchange
from curtail_dist.outer.optimizer import DiLoCo
from curtail_dist.outer.rules import Share
from thinlink.model import Stack, drift

_OPEN_TOKENS = 100


class Among:
    """The exchange of rank 0 of N, where each other rank gives what this one gives. Nothing travels."""

    rank = 0

    def __init__(self, size: int) -> None:
        """Be one of `size`."""
        self.size = size
        self.bytes_sent = 0

    def gather(self, payload: torch.Tensor, sizes: Sequence[int]) -> list[torch.Tensor]:
        """Return the payload N times; of another size, zeros."""
        self.bytes_sent += payload.numel() * (self.size - 1)
        return [
            payload if size == payload.numel() else torch.zeros(size, dtype=torch.uint8) for size in sizes
        ]

    def scatter(
        self, parts: Sequence[torch.Tensor], sizes: Sequence[int], giving: Sequence[bool]
    ) -> list[torch.Tensor]:
        """Return this rank's own part N times."""
        del sizes, giving
        self.bytes_sent += sum(part.numel() for part in parts[1:])
        return [parts[0]] * self.size

    def close(self) -> None:
        """Nothing to leave."""


def arithmetic(sites: int, codec: str, *, repetitions: int) -> tuple[list[float], float]:
    """Return the CPU seconds of each of some syncs, and the bytes sent, both for each parameter."""
    model, generator = Stack(512, 4, 1024), torch.Generator().manual_seed(1)
    exchange = Among(sites)
    outer = stacked(model, codec)
    seconds: list[float] = []
    before = 0
    for _ in range(repetitions + 1):
        drift(model, generator)
        before = exchange.bytes_sent
        began = time.process_time()
        sync(outer, exchange)
        seconds.append((time.process_time() - began) / model.numbers)
    return seconds[1:], (exchange.bytes_sent - before) / model.numbers


def stacked(model: Stack, codec: str) -> DiLoCo:
    """Return the outer side of a site that trains the stack; its syncs are asked for with `sync`."""
    return DiLoCo(None, model, torch.optim.SGD(model.parameters(), lr=0.1), sync_every=1, codec=codec)


def sync(outer: DiLoCo, exchange: Exchange) -> None:
    """Do what a member of a run does in a round, when cards have said that all did the same work."""
    which = tuple(range(len(outer.fragments)))
    shares = [[Share(tokens=1, steps=1)] * len(which)] * exchange.size
    payload = outer.encode(which)
    if not outer.is_finite(which, payload):
        raise ArithmeticError("the drift is not finite; draw a smaller one")
    anchor = outer.stepped(outer.exchanged(exchange, which, payload, shares), shares)
    outer.settle(which, which)
    outer.swap(anchor, which)


@dataclass(frozen=True, kw_only=True)
class Shape:
    """How rounds are cut, and how many rows an inner step takes."""

    fragments: int
    steps: int
    """Inner steps of a round of the fastest."""
    delay: int
    rows_a_step: int


@dataclass(frozen=True, kw_only=True)
class Decided:
    """What one member spent on deciding, CPU seconds, and how large the records are, bytes."""

    read_cards_s: float
    commit_s: float
    """To put the next record together, and to write and read it."""
    plan_s: float
    card_bytes: int
    commit_bytes: int


def decisions(sites: int, shape: Shape, *, rounds: int) -> list[Decided]:
    """Play rounds of one epoch in which nobody fails; return the costs of those in which all is pending."""
    names = [f"site-{one:04}" for one in range(sites)]
    epoch = Epoch(
        number=1,
        members=tuple(
            Member(site=name, incarnation="0" * 16, host="10.0.0.1", group_port=29500, state_port=29501)
            for name in names
        ),
        reason="founded",
    )
    warm = shape.fragments + 1
    total = sites * shape.rows_a_step * shape.steps * (warm + rounds + 2) * 2
    head = Commit(version=0, hash="0" * 32, parent="", epoch=1, total_rows=total, sites=tuple(names))
    going_on: Sequence[str] = ()
    found: list[Decided] = []
    for version in range(warm + rounds):
        began = time.process_time()
        planned = plan_round(head, names, going_on, steps=shape.steps, delay=shape.delay)
        planned_at = time.process_time()
        told = [_card(head, name, planned[name], shape).encode() for name in names]
        told_at = time.process_time()
        cards = [Card.decode(one) for one in told]
        read_at = time.process_time()
        record = next_commit(head, epoch, cards, hash=f"{version:032}", fragments=shape.fragments)
        value = record.encode()
        head = Commit.decode(value)
        committed_at = time.process_time()
        going_on = keeping(head, cards)
        if version >= warm:
            found.append(
                Decided(
                    read_cards_s=read_at - told_at,
                    commit_s=committed_at - read_at,
                    plan_s=planned_at - began,
                    card_bytes=max(len(one) for one in told),
                    commit_bytes=len(value),
                )
            )
    return found


def _card(head: Commit, site: str, assignment: Assignment, shape: Shape) -> Card:
    """Say that a site has done what was planned, and is inside a row."""
    steps = shape.steps
    rows = steps * shape.rows_a_step
    rest = drop(assignment.rows, rows)
    position = rest[0][0]
    tokens = dict(assignment.open).get(position, 0) + _OPEN_TOKENS
    return Card(
        epoch=1,
        version=head.version,
        base=head.hash,
        work=Work(
            site=site,
            tokens=steps * 524_288,
            steps=steps,
            rows=take(assignment.rows, rows),
            open=((position, tokens),),
        ),
        seconds=60.0,
        finite=True,
        draining=False,
        ready=(),
        since=0,
        ahead=ahead(rest, taken=rows, steps=steps, delay=shape.delay),
    )
