"""Muon and AdamW over the ranks of a site: each rank updates its share, and holds the state of that alone.

A step has three phases, each begun for all parameters before the next waits for the first of them, so that
the network and the arithmetic work side by side:

1. every gradient sets out: a reduce-scatter gives each rank the sum of its share;
2. as a share arrives, its rank updates it, and the new values set out: an all-gather;
3. as the new values arrive, they are copied into the model.

AdamW works on each number alone, so a tensor is cut into equal runs of numbers. Muon needs whole matrices, so
equal matrices are dealt out whole. This is stage 1 of ZeRO (arXiv 1910.02054) with the gradients' mean built
in: the model must not be wrapped in DistributedDataParallel.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from nanochat.optim.adamw import adamw_step
from nanochat.optim.muon import muon_step, state_shapes
from nanochat.optim.single import MuonAdamW, Whole, of_one_shape
from nanochat.settings import require

State = Callable[[Tensor], dict[str, Any]]


class ShardedMuonAdamW(MuonAdamW):
    """MuonAdamW whose update and state are divided over a process group.

    Every rank has the same parameters, and gradients of its own for the same ones of them; after a step all
    ranks have the same bytes again. `step`, `whole_state` and `take_whole` are for all ranks together.
    """

    def __init__(
        self, groups: list[dict[str, Any]], *, process_group: dist.ProcessGroup | None = None
    ) -> None:
        """Divide over `process_group`; None: all ranks."""
        super().__init__(groups)
        self._ranks = _Ranks(process_group)
        self._trained: set[Tensor] = set()
        for group in self.param_groups:
            # Part of the state's identity: another share's state does not fit.
            group["share"] = f"{self._ranks.rank} of {self._ranks.count}"

    def _update(self) -> None:
        trained = {p for group in self.param_groups for p in group["params"] if p.grad is not None}
        # Which matrices go together, and so whose they are, follows from which are trained.
        same = not self._trained or trained == self._trained
        require(
            same, "the parameters with a gradient", f"{len(trained)}, other than before", "the same always"
        )
        self._trained = trained
        pieces = list(self._pieces())
        for _, piece in pieces:
            piece.send_gradients()
        for group, piece in pieces:
            piece.update(group, self.state.__getitem__)
        for _, piece in pieces:
            piece.receive()

    def _pieces(self) -> "Iterator[tuple[dict[str, Any], _Piece]]":
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p in self._trained]
            if group["kind"] == "adamw":
                yield from ((group, _Numbers(p, self._ranks)) for p in parameters)
            else:
                yield from ((group, _Matrices(stack, self._ranks)) for stack in of_one_shape(parameters))

    def whole_state(self) -> Whole:
        """The state of every parameter, put together on rank 0's CPU; elsewhere empty."""
        whole: dict[Tensor, dict[str, Tensor]] = {}
        for _, piece in self._pieces():
            whole.update(piece.gather(self.state.__getitem__))
        return whole if self._ranks.rank == 0 else {}

    def take_whole(self, whole: Whole) -> None:
        """Keep this rank's share of a whole state, which each is given; its tensors may become the state."""
        self.state.clear()
        self._trained = set(whole)
        for _, piece in self._pieces():
            for p, state in piece.share(whole):
                self.state[p] = state


class _Ranks:
    """A process group, and this rank's place in it."""

    def __init__(self, group: dist.ProcessGroup | None) -> None:
        self.group = group
        self.rank = dist.get_rank(group)
        self.count = dist.get_world_size(group)

    def sum_of_share(self, whole: Tensor) -> tuple[Tensor, dist.Work]:
        """Begin to add `whole`, [count x s, ...], over the ranks; gives this rank's [s, ...] of it."""
        share = whole.new_empty(whole.size(0) // self.count, *whole.shape[1:])
        work = dist.reduce_scatter_tensor(share, whole, group=self.group, async_op=True)
        assert work is not None
        return share, work

    def all_shares(self, share: Tensor) -> tuple[Tensor, dist.Work]:
        """Begin to put the ranks' shares, [s, ...], together; gives [count x s, ...]."""
        whole = share.new_empty(self.count * share.size(0), *share.shape[1:])
        work = dist.all_gather_into_tensor(whole, share, group=self.group, async_op=True)
        assert work is not None
        return whole, work

    def at_first(self, share: Tensor) -> Tensor | None:
        """The ranks' shares put together on rank 0's CPU; None elsewhere."""
        whole, work = self.all_shares(share)
        work.wait()
        return whole.cpu() if self.rank == 0 else None


class _Piece:
    """Parameters that travel together."""

    def __init__(self, ranks: _Ranks) -> None:
        self.ranks = ranks
        self._arriving: tuple[Tensor, dist.Work] | None = None

    def _arrived(self) -> Tensor:
        assert self._arriving is not None, "a phase follows the one before"
        tensor, work = self._arriving
        work.wait()
        return tensor

    @abstractmethod
    def send_gradients(self) -> None:
        """Phase 1."""

    @abstractmethod
    def update(self, group: dict[str, Any], state: State) -> None:
        """Phase 2."""

    @abstractmethod
    def receive(self) -> None:
        """Phase 3."""

    @abstractmethod
    def gather(self, state: State) -> dict[Tensor, dict[str, Tensor]]:
        """Whole states at rank 0, {} elsewhere."""

    @abstractmethod
    def share(self, whole: Whole) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
        """This rank's part of whole states."""


class _Numbers(_Piece):
    """A tensor of which each rank has a run of numbers; the last run is padded with zeros."""

    def __init__(self, parameter: Tensor, ranks: _Ranks) -> None:
        super().__init__(ranks)
        self._parameter = parameter
        self._length = -(-parameter.numel() // ranks.count)
        self._own = slice(ranks.rank * self._length, (ranks.rank + 1) * self._length)

    def _run(self, tensor: Tensor) -> Tensor:
        """This rank's numbers of a tensor that has the parameter's shape."""
        return self._padded(tensor)[self._own].clone()

    def _padded(self, tensor: Tensor) -> Tensor:
        flat = tensor.detach().reshape(-1)
        lacking = self.ranks.count * self._length - flat.numel()
        return torch.nn.functional.pad(flat, (0, lacking)) if lacking else flat

    def _shaped(self, flat: Tensor) -> Tensor:
        return flat[: self._parameter.numel()].view_as(self._parameter)

    def send_gradients(self) -> None:
        assert self._parameter.grad is not None
        self._arriving = self.ranks.sum_of_share(self._padded(self._parameter.grad))

    def update(self, group: dict[str, Any], state: State) -> None:
        grad, values = self._arrived(), self._run(self._parameter)
        adamw_step(values, grad.div_(self.ranks.count), state(self._parameter), group)
        self._arriving = self.ranks.all_shares(values)

    def receive(self) -> None:
        self._parameter.detach().copy_(self._shaped(self._arrived()))

    def gather(self, state: State) -> dict[Tensor, dict[str, Tensor]]:
        whole: dict[str, Tensor] = {}
        for key, value in state(self._parameter).items():
            # Every rank has counted the same steps.
            together = value.clone() if value.ndim == 0 else self.ranks.at_first(value)
            if self.ranks.rank == 0 and together is not None:
                whole[key] = together if value.ndim == 0 else self._shaped(together)
        return {self._parameter: whole}

    def share(self, whole: Whole) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
        device = self._parameter.device
        state = whole[self._parameter].items()
        yield (
            self._parameter,
            {key: value if value.ndim == 0 else self._run(value).to(device) for key, value in state},
        )


class _Matrices(_Piece):
    """Equal matrices, of which each rank has some whole ones; zeros stand in where they do not go round."""

    def __init__(self, stack: list[Tensor], ranks: _Ranks) -> None:
        super().__init__(ranks)
        self._stack = stack
        self._each = -(-len(stack) // ranks.count)
        self._own = stack[ranks.rank * self._each : (ranks.rank + 1) * self._each]

    def _filled(self, tensors: list[Tensor], count: int) -> Tensor:
        """The tensors, and zeros up to `count` of them, as one: [count, ...]."""
        first = self._stack[0]
        shape = tensors[0].shape if tensors else first.shape
        filled = torch.zeros(count, *shape, dtype=first.dtype, device=first.device)
        if tensors:
            torch.stack(tensors, out=filled[: len(tensors)])
        return filled

    def send_gradients(self) -> None:
        grads = [p.grad for p in self._stack if p.grad is not None]
        self._arriving = self.ranks.sum_of_share(self._filled(grads, self.ranks.count * self._each))

    def update(self, group: dict[str, Any], state: State) -> None:
        grads = self._arrived().div_(self.ranks.count)[: len(self._own)]
        values = [p.detach() for p in self._own]
        if values:
            muon_step(values, list(grads), [state(p) for p in self._own], group)
        self._arriving = self.ranks.all_shares(self._filled(values, self._each))

    def receive(self) -> None:
        for p, value in zip(self._stack, self._arrived(), strict=False):  # what is beyond is padding
            p.detach().copy_(value)

    def gather(self, state: State) -> dict[Tensor, dict[str, Tensor]]:
        whole: dict[Tensor, dict[str, Tensor]] = {p: {} for p in self._stack}
        for key, shape in state_shapes(self._stack[0].shape).items():
            own = torch.zeros(self._each, *shape, device=self._stack[0].device)
            for row, p in zip(own, self._own, strict=False):  # an incomplete share ends in zeros
                row.copy_(state(p)[key])
            together = self.ranks.at_first(own)
            if together is not None:
                for p, value in zip(self._stack, together, strict=False):
                    whole[p][key] = value
        return whole

    def share(self, whole: Whole) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
        for p in self._own:
            yield p, {key: value.to(p.device) for key, value in whole[p].items()}
