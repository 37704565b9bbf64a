"""The model at two ranks, by the sharded optimizer and by DistributedDataParallel; prints a JSON line.

Argument: a directory for the optimizers' states.
"""

import json
import logging
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from curtail_launch.feed import Feed
from curtail_launch.settings import Recipe, TrainOptions
from curtail_launch.trainee import build_trainee

from curtail_dist.state import inner
from nanochat.documents import Documents
from nanochat.loop import train
from nanochat.model import GPTConfig
from nanochat.ranks import Ranks
from nanochat.recipes import OptimConfig
from nanochat.schedule import Pace, Schedule

SEQUENCE, BATCH = 8, 4
SHAPE = GPTConfig(n_layer=3, n_embd=32, n_head=2, n_kv_head=2, vocab_size=64, sequence_length=SEQUENCE)
GENTLE = OptimConfig(adam_eps=1e-3, batch_tokens=64, weight_decay=0.0)
"""Does not make large differences of tiny ones: a first step of Adam is little but the gradient's sign."""
STEADY = Pace(schedule=Schedule(), progress=lambda: 0.5)


class Letters:
    """A whole tokenizer: a to z are 1 to 26, bos is 0."""

    bos_id = 0

    def encode(self, text):
        return [ord(c) - 96 for c in text]

    def documents(self, texts):
        return Documents.of(map(self.encode, texts), self.bos_id)


class Row:
    start = 0

    def __init__(self, text):
        self.text = text


def rows(rank):
    """Texts of one rank: those of rank 0 fill more passes."""
    drawn = torch.Generator().manual_seed(rank)
    lengths = [29, 50, 3, 77, 40, 60] if rank == 0 else [60, 8, 31, 90, 10]
    for length in lengths:
        letters = torch.randint(1, 27, (length,), generator=drawn).tolist()
        yield Row("".join(chr(96 + one) for one in letters))


def recipe(**options):
    return Recipe(
        options=TrainOptions(tokenizer=Path("none"), total_tokens=1, device="cpu", **options),
        tokenizer=Path("none"),
        tokenizer_sha256="",
        model=SHAPE,
        optimizer=GENTLE,
        schedule=Schedule(),
    )


def feed_of(batch, passes):
    return Feed(
        tokenizer=Letters(),
        batch_size=batch,
        sequence_length=SEQUENCE,
        passes=passes,
        device=torch.device("cpu"),
    )


def steps_at(ranks, feed):
    """The steps of this rank, with empty ones where only the other has some left."""
    mine = list(feed.pack(rows(ranks.rank)))
    counts = [None] * ranks.count
    dist.all_gather_object(counts, len(mine))
    return mine + [feed.empty() for _ in range(max(counts) - len(mine))]


def trained(ranks, *, batch=BATCH, passes=1, **options):
    """Train to the end of the texts; return what was trained, and the shape of each step."""
    trainee = build_trainee(recipe(**options), ranks, seed=1)
    steps = steps_at(ranks, feed_of(batch, passes))
    train(trainee.trained, trainee.optimizer, steps, pace=STEADY, after_step=lambda _: None)
    return trainee, [[batch.num_tokens for batch in step.batches] for step in steps]


def apart(one, other):
    """The largest difference of a parameter."""
    pairs = zip(one.model.parameters(), other.model.parameters(), strict=True)
    return max((a - b).abs().max().item() for a, b in pairs)


def kept_and_resumed(folder, ranks, trainee):
    """Keep this rank's state and take it up in another optimizer; then try the other rank's."""
    mine, other = (folder / f"{rank}.safetensors" for rank in (ranks.rank, 1 - ranks.rank))
    inner.save(mine, trainee.optimizer, at=1.0)
    dist.barrier()
    again = build_trainee(recipe(sharded=True), ranks, seed=1)
    taken = inner.load(mine, again.optimizer, now=2.0, max_age_s=10.0)
    pairs = zip(trainee.model.parameters(), again.model.parameters(), strict=True)
    states = [(trainee.optimizer.state.get(a, {}), again.optimizer.state.get(b, {})) for a, b in pairs]
    same = all(
        a.keys() == b.keys() and all(torch.equal(torch.as_tensor(a[k]), torch.as_tensor(b[k])) for k in a)
        for a, b in states
    )
    logging.disable(logging.WARNING)
    fresh = build_trainee(recipe(sharded=True), ranks, seed=1)
    refused = inner.load(other, fresh.optimizer, now=2.0, max_age_s=10.0) is None
    numbers = sum(torch.as_tensor(value).numel() for state, _ in states for value in state.values())
    return {"taken": taken, "same": same, "refused": refused, "numbers": numbers}


def main():
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    ranks = Ranks(dist.get_rank(), dist.get_world_size(), torch.device("cpu"))
    sharded, shapes = trained(ranks, batch=BATCH // 2, passes=2, sharded=True)
    whole, _ = trained(ranks, sharded=True)
    averaged, _ = trained(ranks, batch=BATCH // 2, passes=2, sharded=False)
    fresh = build_trainee(recipe(), ranks, seed=1)
    found = {
        "shapes": shapes,
        "moved": apart(sharded, fresh),
        "sharded_and_averaged": apart(sharded, averaged),
        "two_passes_and_one": apart(sharded, whole),
        "kinds": [type(one.trained).__name__ for one in (sharded, averaged)],
        "kept": kept_and_resumed(Path(sys.argv[1]), ranks, sharded),
        "numbers": sum(
            torch.as_tensor(v).numel() for s in averaged.optimizer.state.values() for v in s.values()
        ),
    }
    sys.stdout.write(json.dumps(found) + "\n")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
