"""The memory of one interpreted launch: which addresses its programs may touch, and who has touched them.

The interpreter runs the programs of a grid one after another on plain pointers. So it does not see an address
outside every tensor, one in the gap between two rows of a view, or one that two programs share although a GPU
would run them at once. Each of these raises here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray


class OutOfBounds(IndexError):
    """A lane that no mask takes away points outside every tensor of the launch."""


class Race(RuntimeError):
    """Two programs of one launch touch an address, and one of them writes it without an atomic operation."""


@dataclass(frozen=True)
class Region:
    """The bytes of one tensor handed to a launch."""

    name: str
    tensor: torch.Tensor

    @property
    def first(self) -> int:
        """The address of the first byte."""
        return self.tensor.data_ptr()

    @property
    def end(self) -> int:
        """The address after the last byte that an element takes."""
        last = sum(
            (n - 1) * stride for n, stride in zip(self.tensor.shape, self.tensor.stride(), strict=True)
        )
        return self.first + (last + 1) * self.tensor.element_size()

    def holds(self, addresses: NDArray[np.uint64], width: int) -> NDArray[np.bool_]:
        """Whether each address is the start of `width` bytes of elements, not of a gap between them."""
        inside = (addresses >= self.first) & (addresses + np.uint64(width) <= self.end)
        if self.tensor.is_contiguous() or not inside.any():
            return inside
        rest = (addresses - np.uint64(self.first)).astype(np.int64)  # wraps where it is not inside anyway
        size = self.tensor.element_size()
        for stride, n in sorted(zip(self.tensor.stride(), self.tensor.shape, strict=True), reverse=True):
            if stride:
                index = np.minimum(rest // (stride * size), n - 1)
                rest = rest - index * stride * size
        return inside & (rest >= 0) & (rest + width <= size)


class Marks:
    """Who first read and who wrote each byte of a storage; 0: nobody, else the program's number + 1."""

    def __init__(self, storage: torch.UntypedStorage) -> None:
        self.first = storage.data_ptr()
        self.end = self.first + storage.nbytes()
        self.reader = np.zeros(storage.nbytes(), np.int32)
        self.writer = np.zeros(storage.nbytes(), np.int32)


class Memory:
    """What one launch may touch and has touched; lives as long as the launch."""

    def __init__(self, tensors: Iterable[tuple[str, torch.Tensor]]) -> None:
        self.regions = [Region(name, tensor) for name, tensor in tensors if tensor.numel()]
        storages = {each.tensor.untyped_storage().data_ptr(): each.tensor for each in self.regions}
        self.marks = [Marks(tensor.untyped_storage()) for tensor in storages.values()]

    def read(self, addresses: NDArray[np.uint64], width: int, program: int) -> None:
        """Take note of a load.

        Args:
            addresses: Of the lanes that are not masked off, one dimension.
            width: Bytes of an element.
            program: Number in the grid.

        Raises:
            OutOfBounds: One of them is outside.
            Race: One of them was written by another program.
        """
        self._inside(addresses, width, "load")
        for marks, at in self._marked(addresses):
            writer = marks.writer[at]
            if ((writer != 0) & (writer != program + 1)).any():
                raise Race(f"program {program} loads what program {writer.max() - 1} of this launch stored")
            reader = marks.reader[at]
            marks.reader[at] = np.where(reader == 0, program + 1, reader)

    def write(self, addresses: NDArray[np.uint64], width: int, program: int) -> None:
        """Take note of a store; arguments and errors as for `read`, and `Race` where another program read."""
        self._inside(addresses, width, "store")
        for marks, at in self._marked(addresses):
            for seen, did in ((marks.writer[at], "stored"), (marks.reader[at], "loaded")):
                if ((seen != 0) & (seen != program + 1)).any():
                    other = seen[(seen != 0) & (seen != program + 1)][0] - 1
                    raise Race(f"program {program} stores to what program {other} of this launch {did}")
            marks.writer[at] = program + 1

    def touch(self, addresses: NDArray[np.uint64], width: int) -> None:
        """Check the bounds of an atomic operation, which may meet those of other programs."""
        self._inside(addresses, width, "atomic operation")

    def _inside(self, addresses: NDArray[np.uint64], width: int, what: str) -> None:
        bad = addresses
        for region in self.regions:
            if not bad.size:
                return
            bad = bad[~region.holds(bad, width)]
        if bad.size:
            where = ", ".join(f"{each.name} is [{each.first:#x}, {each.end:#x})" for each in self.regions)
            raise OutOfBounds(f"{what} of {bad.size} lanes outside every tensor, one at {bad[0]:#x}; {where}")

    def _marked(self, addresses: NDArray[np.uint64]) -> Iterable[tuple[Marks, NDArray[np.int64]]]:
        for marks in self.marks:
            own = addresses[(addresses >= marks.first) & (addresses < marks.end)]
            if own.size:
                yield marks, (own - np.uint64(marks.first)).astype(np.int64)


def tensors_of(name: str, argument: Any) -> Iterable[tuple[str, torch.Tensor]]:
    """The tensors in an argument of a launch, which may be a tuple or a descriptor."""
    if isinstance(argument, tuple):
        for each in argument:
            yield from tensors_of(name, each)
    elif isinstance(argument, torch.Tensor):
        yield name, argument
    elif isinstance(getattr(argument, "base", None), torch.Tensor):
        yield name, argument.base
