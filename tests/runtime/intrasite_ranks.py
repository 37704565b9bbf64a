"""What the ranks of one site say to each other, done at each of them; prints one JSON line at the end.

Arguments: a directory that all share, and the rank that ends before the others have said their last.
"""

import hashlib
import json
import os
import shutil
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from curtail_dist.config import RunConfig
from curtail_dist.data.ledger import Assignment, split
from curtail_dist.errors import ConfigError, RankLost, StateDiverged
from curtail_dist.outer.optimizer import DiLoCo
from curtail_dist.runtime.inner_state import InnerState
from curtail_dist.runtime.intrasite import Tally, open_ranks
from curtail_dist.runtime.open_round import OpenRound
from curtail_dist.runtime.round_report import joint_work

LENGTHS = [5, 0, 300_000, 1]
WARMUP_STEPS = 4


def message(rank, length):
    """Bytes that say whose they are; they end in zeros, as padding might."""
    return (bytes([rank + 1]) * length)[: length // 2].ljust(length, b"\0")


def digest(text):
    """What stands for a message where it is printed."""
    return f"{len(text)} {hashlib.sha256(text).hexdigest()}"


def talk(ranks):
    """Use each operation; messages are given back as digests."""
    me, last = ranks.rank, ranks.size - 1
    mixed = [message(me, LENGTHS[(me + turn) % len(LENGTHS)]) for turn in range(len(LENGTHS))]
    return {
        "place": [me, ranks.size],
        "agree": [
            asdict(ranks.agree(Tally(tokens=10**me, rows=me + 1, due=me == 0, leaving=me == last))),
            asdict(ranks.agree(Tally(tokens=10**me, due=me > 0))),
        ],
        "any": [ranks.any(me == last), ranks.any(me == 0), ranks.any(False)],
        "tell": [digest(ranks.tell(message(me, length))) for length in LENGTHS],
        "gather": [[digest(one) for one in ranks.gather(text)] for text in (*mixed, b"")],
        "spread": spread(ranks),
    }


def tensors(rank):
    """Tensors of each kind that is not one plain block of memory, and what lies around them."""
    base = 100.0 * rank
    wide = base + torch.arange(24.0).reshape(4, 6)
    weight = torch.nn.Parameter(base + torch.arange(6.0).reshape(2, 3))
    return wide, [
        wide[1:3, ::2],
        (base + torch.arange(6.0).reshape(2, 3)).t(),
        (base + torch.arange(16.0).reshape(1, 4, 2, 2)).to(memory_format=torch.channels_last),
        torch.tensor(base + 1.0),
        torch.empty(0, 3),
        (base + torch.arange(4.0)).to(torch.bfloat16),
        weight,
    ]


def spread(ranks):
    """Return the tensors after rank 0's were spread, and what a view's surroundings are then."""
    wide, mine = tensors(ranks.rank)
    ranks.spread(mine)
    return {"tensors": [one.tolist() for one in mine], "around": wide.tolist()}


def do_round(ranks, *, apart=-1):
    """Play a round of 3 open and 17 other rows; each rank leaves its last one open."""
    assignment = Assignment(rows=((4, 5), (9, 10), (2, 3), (20, 37)), steps=2, open=((4, 7), (9, 1), (2, 8)))
    mine = split(assignment, ranks.size)[ranks.rank]
    round = OpenRound("texas", mine, leaving=lambda: False, closing=lambda: False, began=0.0)
    for tokens in (30, 12):
        round.step_done(tokens)
    _, start = list(round.offsets())[-1]
    round.leave_open(start + 10 + ranks.rank)
    if ranks.rank:
        round.losses.extend([float(ranks.rank), ranks.rank + 1.0])
    parameter = torch.full((3,), 1.0)
    if ranks.rank == apart:
        parameter[1] += 1e-6
    joint = joint_work(ranks, round, [torch.zeros(2, 2), parameter], delay=2)
    return {
        "work": asdict(joint.work),
        "loss": joint.loss,
        "ahead": joint.ahead,
        "mine": asdict(round.work),
        "my_ahead": round.rest(2).rows,
    }


def rounds(ranks):
    """Rounds that end alike, with one rank apart, and alike again."""
    found: dict[str, Any] = {"alike": do_round(ranks)}
    try:
        do_round(ranks, apart=ranks.size - 1)
    except StateDiverged as error:
        found["apart"] = str(error)
    found["again"] = do_round(ranks)
    return found


class Inner:
    """The inner optimizer's state of one rank."""

    def __init__(self, ranks, folder):
        site = {
            "signal": {"kind": "constant", "value": 1.0},
            "power": {"train_w": 300.0, "idle_w": 50.0},
        }
        self._config = RunConfig.from_mapping(
            {
                "run": {"name": "t", "directory": str(folder)},
                "data": {"manifest": "none.json"},
                "sites": {"texas": site},
                "train": {"warmup_steps": WARMUP_STEPS},
                "state": {"inner_max_age_s": 100.0},
            }
        )
        self._ranks = ranks
        self._directory = folder / "inner"

    def keep(self, at):
        """Keep the state after a step whose gradient is the rank's own: 1, 2, ..."""
        outer, inner = self._fresh()
        (weight,) = inner.param_groups[0]["params"]
        weight.grad = torch.full_like(weight, self._ranks.rank + 1.0)
        inner.step()
        InnerState(self._config, "texas", self._ranks, outer).keep(at=at)

    def resume(self, now):
        """Return the momentum and the warm-up factor of a process that comes back."""
        outer, inner = self._fresh()
        InnerState(self._config, "texas", self._ranks, outer).resume(now=now)
        momenta = [state["momentum_buffer"].tolist() for state in inner.state.values()]
        return {"momenta": momenta, "warmup": outer.warmup}

    def clear(self):
        """Drop what all ranks kept; they do not go on before."""
        if self._ranks.rank == 0:
            shutil.rmtree(self._directory, ignore_errors=True)
        self._ranks.any(False)

    @staticmethod
    def _fresh():
        model = torch.nn.Linear(2, 1, bias=False)
        inner = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        return DiLoCo(None, model, inner, sync_every=1), inner


def returns(ranks, folder):
    """Come back to what was kept at one time, at two, by rank 0 alone, and too long ago for one rank."""
    inner, found, me = Inner(ranks, folder), {}, ranks.rank
    inner.keep(at=10.0)
    found["same"] = inner.resume(now=20.0)
    if me == ranks.size - 1:
        inner.keep(at=11.0)
    found["apart"] = inner.resume(now=20.0)
    inner.clear()
    if me == 0:
        inner.keep(at=10.0)
    found["rank 0 alone"] = inner.resume(now=20.0)
    inner.clear()
    inner.keep(at=10.0 if me else 90.0)
    found["others too old"] = inner.resume(now=120.0)
    inner.clear()
    found["nothing kept"] = inner.resume(now=20.0)
    return found


def bereft(ranks):
    """Say what operations do once another rank is gone, and when the first of them gave up.

    Only a rank that is left alone tries them all: others would wait for each other.
    """
    operations = {
        "any": lambda: ranks.any(False),
        "agree": lambda: ranks.agree(Tally()),
        "tell": lambda: ranks.tell(b"hello"),
        "gather": lambda: ranks.gather(b"hello"),
        "spread": lambda: ranks.spread([torch.zeros(3)]),
    }
    said, at = {}, []
    for name in operations if ranks.size == 2 else ["any"]:
        try:
            operations[name]()
        except RankLost as error:
            said[name] = str(error)
            at.append(time.monotonic())
    return {"said": said, "at": at[0]}


def main():
    folder, leaver = Path(sys.argv[1]), int(sys.argv[2])
    found = {}
    try:
        open_ranks("texas")
    except ConfigError as error:
        found["unready"] = str(error)
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    ranks = open_ranks("texas")
    found["talk"] = talk(ranks)
    found["rounds"] = rounds(ranks)
    found["returns"] = returns(ranks, folder)
    if ranks.rank == leaver:
        found["left"] = time.monotonic()
    else:
        found["bereft"] = bereft(ranks)
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()
    os._exit(0)  # as a rank that fails: nothing is torn down in order


if __name__ == "__main__":
    main()
