"""The ranks of one site, step by step together: rank 0 takes part in the run, the others follow it.

Gradients inside a site are the training loop's matter (DistributedDataParallel, or its own all-reduce). What
is here keeps the ranks in step: all take the same number of inner steps, and begin each round at the same
parameters. Messages are bytes, never pickled.

Ranks that torchrun started together need not be of one site: those with the same site's name are its ranks.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol, TypeVar

import torch
import torch.distributed as dist

from curtail_dist.errors import ConfigError, RankLost

T = TypeVar("T")
_PATIENCE = timedelta(days=30)
"""Followers wait as long as rank 0 waits for other sites; a rank that dies closes its connections at once."""


@dataclass(frozen=True, kw_only=True)
class Tally:
    """What ranks tell each other after an inner step; of all ranks together, or of one."""

    tokens: int = 0
    """Targets of the step."""
    rows: int = 0
    """Rows taken so far in this round."""
    due: bool = False
    """Whether the round is to end. Rank 0 decides."""
    leaving: bool = False
    """Whether the process, or any of them, was told to leave."""


class SiteRanks(Protocol):
    """The ranks of this site. All call the same operations in the same order; each raises RankLost."""

    @property
    def rank(self) -> int:
        """This process's place; 0 leads."""
        ...

    @property
    def size(self) -> int:
        """Number of ranks."""
        ...

    @property
    def group(self) -> dist.ProcessGroup | None:
        """The group over which the training loop averages gradients; None is the default group, or none."""
        ...

    def agree(self, mine: Tally) -> Tally:
        """Return the tally of all ranks."""
        ...

    def any(self, flag: bool) -> bool:
        """Whether the flag is set at any rank."""
        ...

    def tell(self, message: bytes) -> bytes:
        """Return rank 0's message at each rank; what the others give is ignored."""
        ...

    def gather(self, message: bytes) -> list[bytes]:
        """Return each rank's message, in order."""
        ...

    def spread(self, tensors: Sequence[torch.Tensor]) -> None:
        """Overwrite the tensors with those of rank 0."""
        ...


def open_ranks(site: str) -> SiteRanks:
    """Return the ranks of this site, of those that torchrun started; all of these call it together.

    Raises ConfigError, RankLost.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        return OneRank()
    if not dist.is_initialized():
        raise ConfigError(
            f"WORLD_SIZE is {world} and torch.distributed is not initialized; a site of several ranks needs "
            "it: call torch.distributed.init_process_group() before the site is entered"
        )
    everyone = ManyRanks(None, _talking(None))
    sites = [name.decode() for name in everyone.gather(site.encode())]
    return everyone if len(set(sites)) == 1 else _of_one_site(sites, site)


def _of_one_site(sites: Sequence[str], site: str) -> SiteRanks:
    """Return the ranks of `site`; `sites` names the site of each rank of the default group."""
    found: dict[str, SiteRanks] = {}
    for name in sorted(set(sites)):  # all build all groups, and in one order
        members = [rank for rank, other in enumerate(sites) if other == name]
        training: Any = _together(lambda members=members: dist.new_group(members))
        talking = _talking(members) if len(members) > 1 else None
        if name == site:
            found[name] = OneRank(training) if talking is None else ManyRanks(training, talking)
    return found[site]


class OneRank:
    """A site of one rank: there is nobody to agree with."""

    rank = 0
    size = 1

    def __init__(self, group: dist.ProcessGroup | None = None) -> None:
        """Be the only rank; `group` holds it alone, where there is a default group of more."""
        self.group = group

    def agree(self, mine: Tally) -> Tally:
        """Return it."""
        return mine

    def any(self, flag: bool) -> bool:
        """Return it."""
        return flag

    def tell(self, message: bytes) -> bytes:
        """Return it."""
        return message

    def gather(self, message: bytes) -> list[bytes]:
        """Return it alone."""
        return [message]

    def spread(self, tensors: Sequence[torch.Tensor]) -> None:
        """Leave them as they are."""


class ManyRanks:
    """A site of several ranks, over a Gloo group beside the training loop's own; for the main loop alone."""

    def __init__(self, training: dist.ProcessGroup | None, talking: dist.ProcessGroup) -> None:
        """Talk over `talking`, a Gloo group of the same ranks as `training`, which the training loop uses."""
        self.group = training
        self.rank = dist.get_rank(talking)
        self.size = dist.get_world_size(talking)
        self._group = talking
        self._first = dist.get_global_rank(talking, 0)

    def agree(self, mine: Tally) -> Tally:
        """Add up tokens and rows; rank 0 says what is due, anyone that it leaves."""
        numbers = self._all([mine.tokens, mine.rows, int(mine.due), int(mine.leaving)])
        tokens, rows, _, leaving = numbers.sum(dim=0).tolist()
        return Tally(tokens=tokens, rows=rows, due=bool(numbers[0, 2]), leaving=leaving > 0)

    def any(self, flag: bool) -> bool:
        """Ask all."""
        return bool(self._all([int(flag)]).any())

    def tell(self, message: bytes) -> bytes:
        """Broadcast from rank 0."""
        size = torch.tensor([len(message)], device="cpu")
        self._from_first(size)
        text = _buffer(message) if self.rank == 0 else _buffer(bytes(int(size)))
        self._from_first(text)
        return bytes(text.numpy())

    def gather(self, message: bytes) -> list[bytes]:
        """Gather messages of any size, padded to the longest."""
        sizes = self._all([len(message)])[:, 0].tolist()
        longest = max(1, *sizes)
        texts = [_buffer(bytes(longest)) for _ in sizes]
        mine = _buffer(message.ljust(longest, b"\0"))
        _together(lambda: dist.all_gather(texts, mine, group=self._group))
        return [bytes(text.numpy())[:size] for text, size in zip(texts, sizes, strict=True)]

    def spread(self, tensors: Sequence[torch.Tensor]) -> None:
        """Broadcast each: on a device by the training loop's group, in host memory by ours."""
        with torch.no_grad():
            for tensor in tensors:
                whole = tensor.detach().contiguous()
                group = self.group if whole.is_cuda else self._group
                _together(lambda whole=whole, group=group: dist.broadcast(whole, self._first, group))
                if whole.data_ptr() != tensor.data_ptr():
                    tensor.copy_(whole)

    def _all(self, numbers: list[int]) -> torch.Tensor:
        """Return every rank's numbers, [ranks, numbers] int64."""
        rows = [torch.empty(len(numbers), dtype=torch.int64, device="cpu") for _ in range(self.size)]
        mine = torch.tensor(numbers, device="cpu")
        _together(lambda: dist.all_gather(rows, mine, group=self._group))
        return torch.stack(rows)

    def _from_first(self, tensor: torch.Tensor) -> None:
        if tensor.numel():
            _together(lambda: dist.broadcast(tensor, self._first, self._group))


def _talking(members: list[int] | None) -> Any:
    """Build a group for what ranks tell each other; None: all ranks. Raises RankLost."""
    return _together(lambda: dist.new_group(members, backend="gloo", timeout=_PATIENCE))


def _buffer(message: bytes) -> torch.Tensor:
    """Return a copy of a message, [bytes] uint8. torch takes no empty buffer."""
    return torch.frombuffer(bytearray(message or b"\0"), dtype=torch.uint8)[: len(message)]


def _together(operation: Callable[[], T]) -> T:
    """Do what all ranks do. Raises RankLost."""
    try:
        return operation()
    except RuntimeError as error:
        reason = str(error).splitlines()[0][:200]
        raise RankLost(f"another rank of this site is gone ({reason}); start its ranks anew") from error
