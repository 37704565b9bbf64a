"""Prints how much the peak of memory grows by DiLoCo, in fragments' sizes in fp32.

Eight blocks, eight fragments, int4. Arguments: the delay, and how many members there are, each with a model.
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

import curtail_dist as cd

MIB = 2**20
BLOCKS, BLOCK_MIB = 8, 40


class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(torch.zeros(BLOCK_MIB * MIB // 4))


def peak():
    """Return the most memory this program ever had, in bytes; `getrusage` would count its parent's, too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def warm_up():
    """Let torch load what it loads at its first step."""
    model = torch.nn.Linear(2, 2)
    outer = cd.DiLoCo(
        None,
        model,
        torch.optim.SGD(model.parameters(), lr=1.0),
        sync_every=1,
        codec="int4",
        outer=cd.Nesterov,
    )
    outer.step(tokens=1)
    assert outer.state.hash


def main():
    torch.set_num_threads(1)
    delay, size = int(sys.argv[1]), int(sys.argv[2])
    models = [torch.nn.Sequential(torch.nn.ModuleList(Block() for _ in range(BLOCKS))) for _ in range(size)]
    for model in models:
        for value in model.parameters():
            value.data.fill_(1.0)
    warm_up()
    before = peak()
    members = cd.InProcess.group(size)

    def run(rank):
        inner = torch.optim.SGD(models[rank].parameters(), lr=1.0)
        outer = cd.DiLoCo(
            None,
            models[rank],
            inner,
            sync_every=16,
            fragments=BLOCKS,
            sync_delay=delay,
            codec="int4",
            exchange=members[rank],
        )
        for step in range(20):
            with torch.no_grad():
                for value in models[rank].parameters():
                    value.mul_(0.99 + 0.001 * step)
            outer.step(tokens=8)
            assert len(outer.state.hash) == 64
        outer.close()

    with ThreadPoolExecutor(size) as pool:
        list(pool.map(run, range(size)))
    fragment = size * BLOCK_MIB * MIB
    sys.stdout.write(f"{(peak() - before) / fragment:.2f}\n")


main()
