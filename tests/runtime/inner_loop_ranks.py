"""The inner loop at one rank of a site, over runs drawn from seeds; prints what it trained on as a JSON line.

Argument: how many runs. Each row's tokens have ids of their own, so that what was trained can be told.
"""

import json
import sys
import threading
from dataclasses import asdict, dataclass
from random import Random

import torch
import torch.distributed as dist

from curtail_dist.data.ledger import Ledger, Staying, plan, split
from curtail_dist.data.loader import Row
from curtail_dist.errors import ConfigError
from curtail_dist.runtime.inner_loop import InnerLoop
from curtail_dist.runtime.intrasite import open_ranks
from curtail_dist.runtime.open_round import BatchSource, OpenRound
from curtail_dist.runtime.round_report import joint_work
from nanochat.documents import Documents
from nanochat.packing import empty_batch, pack

BOS = 0
WIDEST = 1000
"""More than any row here has tokens: token t of row r is r * WIDEST + t."""
PILE = 3
MOST_ROUNDS = 200


@dataclass(frozen=True)
class Scenario:
    """A run of one site."""

    lengths: tuple[int, ...]
    """Tokens of each row."""
    steps: int
    """Inner steps of a round."""
    placed: bool
    """Whether batches say where in their last row they end."""
    delay: int = 0
    """Inner steps beside the exchange; one that begins is over when they are done."""
    leaver: int = -1
    """The rank that is asked to leave, and after how many of its steps."""
    leaves_after: int = 0

    @classmethod
    def draw(cls, seed: int, *, ranks: int) -> "Scenario":
        chance = Random(seed)
        steps = chance.randint(1, 6)
        return cls(
            lengths=tuple(chance.choice([0, 1, 5, 30]) for _ in range(chance.randint(1, 60))),
            steps=steps,
            placed=chance.random() < 0.5,
            delay=chance.choice([0, 0, *range(1, steps)]),
            leaver=chance.choice([-1, *range(ranks)]),
            leaves_after=chance.randint(1, 4),
        )


class Numbered:
    """A tokenizer that gives each token of each row an id of its own; a text says its row and its length."""

    bos_id = BOS

    def encode(self, text):
        row, length = map(int, text.split())
        return [row * WIDEST + token for token in range(1, length + 1)]

    def documents(self, texts):
        return Documents.of(map(self.encode, texts), self.bos_id)


class Pile(list):
    """A batch that says nothing of where it ends: row numbers."""


def piles(rows):
    """Batches of 3 rows, made with one more in hand."""
    held = Pile()
    for row in rows:
        if len(held) == PILE:
            yield held
            held = Pile()
        held.append(row.index)
    if held:
        yield held


class Rounds:
    """A part in a run of one site that nobody else takes part in: each round's work is done at its end.

    Only rank 0 looks at whether the site is to leave, as in a run.
    """

    head = None
    leads = True
    size = 1

    def __init__(self, scenario, ranks, leaving):
        self._scenario = scenario
        self._ranks = ranks
        self._leaving = leaving
        self._ledger = Ledger(total=len(scenario.lengths))
        self._speed = None
        self._kept = []
        self.works = []
        self.opened = []
        self.landed = 0

    def start(self):
        """There is nobody to wait for."""

    def begin_round(self):
        if self._ledger.complete or self._leaving.is_set():
            return None
        assert len(self.works) < MOST_ROUNDS, "rows are planned, and yet not done"
        return self._open(self._planned(Staying()))

    def end_round(self, round):
        if round.flying:
            return self._land(round)
        joint = joint_work(self._ranks, round, [torch.zeros(1)], delay=self._scenario.delay)
        self.works.append(joint.work)
        self._ledger = self._ledger.with_done(joint.work.rows, joint.work.open)
        self._speed = self._ledger.rows_done / max(1, sum(work.steps for work in self.works))
        if not self._scenario.delay or self._leaving.is_set() or not any(joint.ahead):
            return self.begin_round()
        self._kept = joint.ahead
        return self._open(round.rest(self._scenario.delay), after=round)

    def _land(self, round):
        joint_work(self._ranks, round, [torch.zeros(1)], delay=0)
        ahead = tuple(span for spans in self._kept for span in spans)
        round.extend(
            self._planned(Staying(rows={"a": ahead}, delay=self._scenario.delay), self._kept),
            closing=lambda: False,
        )
        self.landed += 1
        return round

    def _planned(self, staying, kept=()):
        assignment = plan(
            self._ledger,
            ["a"],
            speeds={},
            steps=self._scenario.steps,
            rows_per_step=self._speed,
            staying=staying,
        )["a"]
        return split(assignment, self._ranks.size, kept)[self._ranks.rank]

    def _open(self, assignment, *, after=None):
        round = OpenRound(
            "a",
            assignment,
            leaving=self._leaving.is_set if self._ranks.rank == 0 else lambda: False,
            closing=lambda: False,
            began=0.0,
            after=after,
        )
        self.opened.append(round)
        return round

    def step_done(self):
        """There is nothing to look at."""


def pairs(batch):
    """What a batch trains: (token, the token after it), or the rows of a pile."""
    if isinstance(batch, Pile):
        return list(batch)
    flat = zip(batch.inputs.flatten().tolist(), batch.targets.flatten().tolist(), strict=True)
    return [[token, target] for token, target in flat if target != -1]


def play(scenario, ranks):
    """Train to the end of the run, or until the site leaves."""
    leaving = threading.Event()
    part = Rounds(scenario, ranks, leaving)

    def read(position, start):
        return Row(position, f"{position + 1} {scenario.lengths[position]}", start)

    def packed(rows):
        return pack(rows, Numbered(), 1, 4, "cpu") if scenario.placed else piles(rows)

    empty = (lambda: empty_batch(Numbered(), 1, 4, "cpu")) if scenario.placed else Pile
    loop = InnerLoop(part, ranks, BatchSource(packed, read), empty=empty, leaving=leaving)
    batches, told = [], []
    for batch in loop:
        batches.append([len(part.opened), pairs(batch)])
        if ranks.rank == scenario.leaver and len(batches) == scenario.leaves_after:
            leaving.set()
        told.append(loop.step_done(len(pairs(batch))).tokens)
        loop.go_on()
    return {
        "batches": batches,
        "tokens": told,
        "works": [asdict(work) for work in part.works],
        "rows": sum(round.rows for round in part.opened),
        "left": leaving.is_set(),
        "landed": part.landed,
    }


def main():
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    ranks = open_ranks("a")
    found = {}
    try:
        InnerLoop(
            Rounds(Scenario.draw(0, ranks=ranks.size), ranks, threading.Event()),
            ranks,
            BatchSource(piles, lambda position, start: Row(position, "", start)),
            empty=None,
            leaving=threading.Event(),
        )
    except ConfigError as error:
        found["refused"] = str(error)
    runs = range(int(sys.argv[1]))
    found["played"] = [play(Scenario.draw(seed, ranks=ranks.size), ranks) for seed in runs]
    sys.stdout.write(json.dumps(found) + "\n")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
