"""The feed at one rank of a site, over runs drawn from seeds; prints what it trained on as a JSON line.

Arguments: how many runs, and how many passes a step has.
"""

import json
import sys
import threading
from dataclasses import asdict, replace

import torch
import torch.distributed as dist
from curtail_launch.feed import Feed
from runtime.inner_loop_ranks import Numbered, Rounds, Scenario, pairs

from curtail_dist.data.loader import Row
from curtail_dist.runtime.inner_loop import InnerLoop
from curtail_dist.runtime.intrasite import open_ranks
from curtail_dist.runtime.open_round import BatchSource


def drawn(seed, *, ranks):
    return replace(Scenario.draw(seed, ranks=ranks), placed=True)


def play(scenario, ranks, passes):
    """Train to the end of the run, or until the site leaves."""
    leaving = threading.Event()
    part = Rounds(scenario, ranks, leaving)
    feed = Feed(
        tokenizer=Numbered(), batch_size=1, sequence_length=4, passes=passes, device=torch.device("cpu")
    )

    def read(position, start):
        return Row(position, f"{position + 1} {scenario.lengths[position]}", start)

    loop = InnerLoop(part, ranks, BatchSource(feed.pack, read), empty=feed.empty, leaving=leaving)
    steps = []
    for step in loop:
        steps.append([pairs(batch) for batch in step.batches])
        if ranks.rank == scenario.leaver and len(steps) == scenario.leaves_after:
            leaving.set()
        loop.step_done(step.num_tokens)
        loop.go_on()
    return {"steps": steps, "works": [asdict(work) for work in part.works], "left": leaving.is_set()}


def main():
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    ranks = open_ranks("a")
    runs, passes = map(int, sys.argv[1:])
    played = [play(drawn(seed, ranks=ranks.size), ranks, passes) for seed in range(runs)]
    sys.stdout.write(json.dumps(played) + "\n")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
