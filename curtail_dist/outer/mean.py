"""The mean of all members' pseudo-gradients: each gets all payloads, or each averages a part for all.

Up to three members every member sends its payload to every other and averages for itself. With more of them
that is much to send: each member then gets one part of every payload, averages it, and sends the mean of it,
in fp32, to all (reduce-scatter and all-gather). What costs fewer bytes is done. The sums are the same, in
rank order and in fp32, so either way all members have the same bytes.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch

from curtail_dist.outer.codec import BLOCK
from curtail_dist.outer.exchange import Exchange
from curtail_dist.outer.payloads import Payloads, Which

_GATHERED_MOST = 3
"""Members up to which payloads are gathered, whatever their size."""


def exchanged_mean(
    exchange: Exchange,
    payloads: Payloads,
    which: Which,
    mine: torch.Tensor,
    weights: Sequence[Sequence[float]],
) -> dict[str, torch.Tensor]:
    """Exchange payloads; return the mean pseudo-gradient (fp32) by parameter. Raises PeerLost.

    Args:
        exchange: The group.
        payloads: Encodes and decodes them.
        which: The fragments that a payload holds.
        mine: This member's payload.
        weights: For each rank, its weight in each of these fragments. A rank without any sends nothing.
    """
    if exchange.size > _GATHERED_MOST and _cheaper_in_parts(payloads, which, exchange.size):
        flat = _in_parts(exchange, payloads, which, mine, weights)
    else:
        contributing = [any(each) for each in weights]
        sizes = [payloads.size(which) if one else 0 for one in contributing]
        gathered = exchange.gather(mine if sizes[exchange.rank] else mine[:0], sizes)
        given = [part if one else None for part, one in zip(gathered, contributing, strict=True)]
        flat = payloads.mean(which, given, weights)
    return payloads.by_parameter(which, flat)


def _cheaper_in_parts(payloads: Payloads, which: Which, members: int) -> bool:
    """Whether a part of each payload and of the mean are fewer bytes than a payload for each member."""
    size = payloads.size(which)
    return (size + 4 * payloads.numbers(which)) / members < size


def _in_parts(
    exchange: Exchange,
    payloads: Payloads,
    which: Which,
    mine: torch.Tensor,
    weights: Sequence[Sequence[float]],
) -> list[torch.Tensor | None]:
    """Return the mean of each fragment, flat; None for one in which nobody has weight."""
    found: list[torch.Tensor | None] = []
    for place, (fragment, part) in enumerate(zip(which, payloads.split(which, mine), strict=True)):
        shares = [each[place] for each in weights]
        cuts = _cuts(payloads.numbers((fragment,)), exchange.size)
        spans = list(pairwise(cuts))
        first, last = spans[exchange.rank]
        given = exchange.scatter(
            [payloads.cut(fragment, part, *span) for span in spans] if shares[exchange.rank] else [],
            [payloads.size_of(high - low) for low, high in spans],
            [bool(share) for share in shares],
        )
        if not any(shares):
            found.append(None)
            continue
        here = [one if share else None for one, share in zip(given, shares, strict=True)]
        mean = payloads.average(here, shares, last - first)
        gathered = exchange.gather(mean.view(torch.uint8), [4 * (high - low) for low, high in spans])
        found.append(torch.cat([one.view(torch.float32) for one in gathered]))
    return found


def _cuts(numbers: int, members: int) -> list[int]:
    """Divide so many numbers in whole blocks; return where each member's part begins, and the end."""
    blocks = -(-numbers // BLOCK)
    return [min(numbers, blocks * member // members * BLOCK) for member in range(members)] + [numbers]
