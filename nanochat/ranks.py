"""The ranks that torchrun started to train one model together, and the device of each."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from nanochat.meeting import meeting_place

LOOPBACK = "lo"
"""The interface of a host to itself."""


@dataclass(frozen=True)
class Ranks:
    """This rank's place among them."""

    rank: int
    count: int
    device: torch.device
    group: dist.ProcessGroup | None = None
    """Theirs; None: the default group, which only a rank alone may lack."""

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
        dist.all_reduce(total, group=self.group)
        return total.tolist()


def several_ranks() -> bool:
    """Whether torchrun started more than this process."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def join_ranks(device: torch.device) -> torch.device:
    """Meet the other ranks; return this rank's device: the CPU, or one GPU for each rank of a host.

    Ranks of one host meet at no port, and speak over its loopback interface unless the environment names
    another: nobody from outside has anything to connect to.
    """
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    rank, count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    if os.environ.get("LOCAL_WORLD_SIZE") != str(count):
        dist.init_process_group(backend)
        return device
    for variable in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        os.environ.setdefault(variable, LOOPBACK)
    with meeting_place(rank, count) as store:
        dist.init_process_group(backend, store=store, rank=rank, world_size=count)
    return device


def ranks_of(group: dist.ProcessGroup | None, device: torch.device) -> Ranks:
    """This rank among those of `group`, of which it is one; None: among all, if there are others."""
    if not dist.is_initialized():
        return Ranks(0, 1, device)
    return Ranks(dist.get_rank(group), dist.get_world_size(group), device, group)


@contextmanager
def together(device: torch.device) -> Iterator[Ranks]:
    """Be one of the ranks that torchrun started, or the only one, until the end of the block."""
    if not several_ranks():
        yield Ranks(0, 1, device)
        return
    device = join_ranks(device)
    try:
        yield ranks_of(None, device)
    finally:
        dist.destroy_process_group()  # else the process may abort as it ends, with all its work done
