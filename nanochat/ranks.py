"""The ranks that torchrun started to train one model together, and the device of each."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class Ranks:
    """This rank's place among them."""

    rank: int
    count: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this is the one that writes and speaks."""
        return self.rank == 0

    def sum(self, values: list[float]) -> list[float]:
        """Sums over the ranks, in fp64; for all of them together."""
        if self.count == 1:
            return values
        # MPS and the like know no fp64, and what is summed is small.
        device = self.device if self.device.type == "cuda" else torch.device("cpu")
        total: Tensor = torch.tensor(values, dtype=torch.float64, device=device)
        dist.all_reduce(total)
        return total.tolist()


def several_ranks() -> bool:
    """Whether torchrun started more than this process."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def join_ranks(device: torch.device) -> torch.device:
    """Meet the other ranks; return this rank's device: the CPU, or one GPU for each rank of a host."""
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    return device


@contextmanager
def together(device: torch.device) -> Iterator[Ranks]:
    """Be one of the ranks that torchrun started, or the only one, until the end of the block."""
    if not several_ranks():
        yield Ranks(0, 1, device)
        return
    device = join_ranks(device)
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size(), device)
    finally:
        dist.destroy_process_group()  # else the process may abort as it ends, with all its work done
