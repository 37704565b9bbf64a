"""Pseudo-gradients as bytes: fp32, bf16, or blockwise int8 and int4.

A payload is encoded once for a round, sent as often as needed, and decoded alike at every site. A codec takes
and gives one flat fp32 tensor, on any device; for the same numbers it makes the same bytes on each. What a
lossy one leaves out is added to the next payload by `feedback.Feedback`.
"""

from collections.abc import Sequence
from typing import Protocol

import torch

_PIECE = 1 << 18
"""Numbers that a CPU works on at once, a multiple of all blocks: they and what is made of them stay in its
caches, where those of a whole payload would go to memory and back at each step."""


BLOCK = 128
"""A payload may be cut at multiples of so many numbers, whatever the codec."""


class Codec(Protocol):
    """Turns flat fp32 tensors into bytes and back."""

    def size(self, numbers: int) -> int:
        """Return how many bytes a payload of so many numbers has."""
        ...

    def encode(self, flat: torch.Tensor) -> torch.Tensor:
        """Return the payload (uint8, [size]) of `flat` (fp32, [numbers]), on its device."""
        ...

    def decode(self, payload: torch.Tensor, numbers: int) -> torch.Tensor:
        """Return the numbers (fp32, [numbers]) of a payload; they may share its memory."""
        ...

    def is_finite(self, payload: torch.Tensor, numbers: int) -> bool:
        """Return whether all of a payload's numbers are finite."""
        ...

    def cut(self, payload: torch.Tensor, numbers: int, first: int, last: int) -> torch.Tensor:
        """Return the payload of numbers [first, last), from that of all; see BLOCK."""
        ...


class Float32:
    """The numbers as they are."""

    def size(self, numbers: int) -> int:
        """4 bytes a number."""
        return 4 * numbers

    def encode(self, flat: torch.Tensor) -> torch.Tensor:
        """View them as bytes."""
        return flat.view(torch.uint8)

    def decode(self, payload: torch.Tensor, numbers: int) -> torch.Tensor:
        """View the bytes as numbers."""
        return payload.view(torch.float32)[:numbers]

    def is_finite(self, payload: torch.Tensor, numbers: int) -> bool:
        """Look at each."""
        return _all_finite(self.decode(payload, numbers))

    def cut(self, payload: torch.Tensor, numbers: int, first: int, last: int) -> torch.Tensor:
        """Those bytes."""
        del numbers
        return payload[4 * first : 4 * last]


class BFloat16:
    """The numbers rounded to 8 bits of mantissa."""

    def size(self, numbers: int) -> int:
        """2 bytes a number."""
        return 2 * numbers

    def encode(self, flat: torch.Tensor) -> torch.Tensor:
        """Round to the nearest, ties to even."""
        return flat.bfloat16().view(torch.uint8)

    def decode(self, payload: torch.Tensor, numbers: int) -> torch.Tensor:
        """Widen."""
        return payload.view(torch.bfloat16)[:numbers].float()

    def is_finite(self, payload: torch.Tensor, numbers: int) -> bool:
        """Look at each."""
        return _all_finite(payload.view(torch.bfloat16)[:numbers])

    def cut(self, payload: torch.Tensor, numbers: int, first: int, last: int) -> torch.Tensor:
        """Those bytes."""
        del numbers
        return payload[2 * first : 2 * last]


class Blockwise:
    """Symmetric integers, with a bf16 scale for each block of neighbours (arXiv 2110.02861, without its map).

    A block's largest magnitude falls on the largest integer. A payload is the scales, then the integers; two
    of 4 bits lie in one byte, the first in its lower half. A number that is not finite makes its block so.
    """

    def __init__(self, bits: int, block: int) -> None:
        """Use integers of 8 or 4 bits, in blocks of so many numbers."""
        self.bits = bits
        """Of an integer."""
        self.block = block
        """Numbers that share a scale."""
        self._most = 2 ** (bits - 1) - 1

    def size(self, numbers: int) -> int:
        """`bits` a number, and 2 bytes a block."""
        return 2 * self._blocks(numbers) + -(-numbers * self.bits // 8)

    def encode(self, flat: torch.Tensor) -> torch.Tensor:
        """Round to the nearest integer, ties to even."""
        numbers = flat.numel()
        payload = torch.empty(self.size(numbers), dtype=torch.uint8, device=flat.device)
        scales, integers = self._parts(payload, numbers)
        for begin, end in _pieces(numbers, flat.device):
            first, last = begin // self.block, self._blocks(end)
            levels = self._rounded(flat[begin:end], scales[first:last])
            place = slice(begin * self.bits // 8, -(-end * self.bits // 8))
            integers[place].copy_(self._packed(levels))
        return payload

    def decode(self, payload: torch.Tensor, numbers: int) -> torch.Tensor:
        """Multiply each integer by its block's scale."""
        scales, integers = self._parts(payload, numbers)
        found = torch.empty(self._blocks(numbers), self.block, dtype=torch.float32, device=payload.device)
        for begin, end in _pieces(numbers, payload.device):
            first, last = begin // self.block, self._blocks(end)
            place = slice(begin * self.bits // 8, -(-end * self.bits // 8))
            levels = self._unpacked(integers[place])
            whole = torch.nn.functional.pad(levels, (0, (last - first) * self.block - levels.numel()))
            steps = scales[first:last].float().unsqueeze(1)
            torch.mul(whole.float().view(-1, self.block), steps, out=found[first:last])
        return found.view(-1)[:numbers]

    def is_finite(self, payload: torch.Tensor, numbers: int) -> bool:
        """Look at the scales: the largest number of a block is the largest integer of its scale."""
        scales, _ = self._parts(payload, numbers)
        return _all_finite(scales.float() * self._most)

    def cut(self, payload: torch.Tensor, numbers: int, first: int, last: int) -> torch.Tensor:
        """Their scales, then their integers."""
        scales, integers = self._parts(payload, numbers)
        blocks = scales[first // self.block : self._blocks(last)].view(torch.uint8)
        place = slice(first * self.bits // 8, -(-last * self.bits // 8))
        return torch.cat([blocks, integers[place]])

    def _blocks(self, numbers: int) -> int:
        return -(-numbers // self.block)

    def _parts(self, payload: torch.Tensor, numbers: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a payload's scales (bf16, [blocks]) and its integers (uint8); they share its memory."""
        cut = 2 * self._blocks(numbers)
        return payload[:cut].view(torch.bfloat16), payload[cut:]

    def _rounded(self, flat: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
        """Return the integers (int8, [numbers]) of `flat`; its blocks' scales are written to `scales`."""
        padding = scales.numel() * self.block - flat.numel()
        blocks = (torch.nn.functional.pad(flat, (0, padding)) if padding else flat).view(-1, self.block)
        largest = blocks.abs().amax(dim=1)
        # By a tensor: CUDA divides by a number as a product with its reciprocal, which rounds otherwise.
        scales.copy_(largest / torch.full_like(largest, self._most))
        steps = scales.float().unsqueeze(1)
        steps.masked_fill_(steps == 0, 1.0)
        levels = (blocks / steps).round_().clamp_(-self._most, self._most).to(torch.int8)
        return levels.view(-1)[: flat.numel()]

    def _packed(self, levels: torch.Tensor) -> torch.Tensor:
        """Return the bytes of integers, taken in pairs as the halves of a little-endian number."""
        if self.bits == 8:
            return levels.view(torch.uint8)
        even = torch.nn.functional.pad(levels, (0, 1)) if levels.numel() % 2 else levels
        pairs = even.view(torch.int16)
        return (pairs & 0x0F).bitwise_or_((pairs >> 4).bitwise_and_(0xF0)).to(torch.uint8)

    def _unpacked(self, packed: torch.Tensor) -> torch.Tensor:
        """Return the integers (int8); of 4 bits always an even number."""
        if self.bits == 8:
            return packed.view(torch.int8)
        pairs = packed.to(torch.int16)
        pairs = (pairs << 4).bitwise_and_(0x0F00).bitwise_or_(pairs.bitwise_and_(0x0F))
        return pairs.view(torch.int8).bitwise_xor_(0x8).sub_(8)  # the sign's bit, 8, stands for -8


def _pieces(numbers: int, device: torch.device) -> list[tuple[int, int]]:
    """Return where each piece begins and ends; an accelerator works on all at once."""
    length = _PIECE if device.type == "cpu" else max(numbers, 1)
    return [(begin, min(begin + length, numbers)) for begin in range(0, numbers, length)]


def _all_finite(numbers: torch.Tensor) -> bool:
    """Look at the extremes, which are not finite if any number is not: one pass, and nothing written."""
    return not numbers.numel() or bool(torch.isfinite(torch.stack(torch.aminmax(numbers))).all())


CODECS: dict[str, Codec] = {
    "fp32": Float32(),
    "bf16": BFloat16(),
    "int8": Blockwise(8, block=128),
    "int4": Blockwise(4, block=64),
}
"""By their names in a run file."""

FOR_MEANS: dict[str, Codec] = {**CODECS, "int4": CODECS["int8"]}
"""In what the mean of payloads travels: it is finer than any of them, and 15 levels would lose that."""


def unflatten(flat: torch.Tensor, shapes: Sequence[torch.Size]) -> list[torch.Tensor]:
    """Split a flat tensor into shapes; they share its memory."""
    parts = flat.split([shape.numel() for shape in shapes])
    return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]


def count(tensors: Sequence[torch.Tensor]) -> int:
    """Return how many numbers the tensors hold."""
    return sum(tensor.numel() for tensor in tensors)


def decode(codec: Codec, payload: torch.Tensor, numbers: int) -> torch.Tensor:
    """Return a payload's numbers. Raises ValueError if it has another size than that of so many numbers."""
    expected = codec.size(numbers)
    if payload.numel() != expected:
        raise ValueError(f"a payload has {payload.numel()} bytes; for this model it must have {expected}")
    return codec.decode(payload, numbers)


def average(
    codec: Codec, payloads: Sequence[torch.Tensor | None], weights: Sequence[float], numbers: int
) -> torch.Tensor:
    """Return the weighted mean of decoded payloads, summed in rank order in fp32: the same bytes everywhere.

    Args:
        codec: Of all payloads.
        payloads: One a rank, None for those that contribute nothing; these are skipped, not multiplied by 0.
        weights: One a rank, tokens stepped.
        numbers: That each payload holds.
    """
    pairs = [
        (payload, weight) for payload, weight in zip(payloads, weights, strict=True) if payload is not None
    ]
    total = sum(weight for _, weight in pairs)
    mean = torch.zeros(numbers, dtype=torch.float32, device="cpu")
    for payload, weight in pairs:
        mean.add_(decode(codec, payload, numbers), alpha=weight / total)
    return mean
