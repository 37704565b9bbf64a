"""The mean of all members' pseudo-gradients: each gets all payloads, or each averages a part for all.

Up to three members every member sends its payload to every other and averages for itself. From four on, each
member gets one part of every payload, averages it, and sends the mean of it to all (reduce-scatter and
all-gather): with every codec that is fewer bytes. Sums are in fp32 and in rank order, and all members decode
the same payloads, so that all have the same bytes either way.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch

from curtail_dist.outer.codec import BLOCK
from curtail_dist.outer.exchange import Exchange
from curtail_dist.outer.payloads import Payloads, Which

_GATHERED_MOST = 3
"""Members up to which payloads are gathered."""


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
    if exchange.size > _GATHERED_MOST:
        flat = _in_parts(exchange, payloads, which, mine, weights)
    else:
        contributing = [any(each) for each in weights]
        sizes = [payloads.size(which) if one else 0 for one in contributing]
        gathered = exchange.gather(mine if sizes[exchange.rank] else mine[:0], sizes)
        given = [part if one else None for part, one in zip(gathered, contributing, strict=True)]
        flat = payloads.mean(which, given, weights)
    return payloads.by_parameter(which, flat)


def _in_parts(
    exchange: Exchange,
    payloads: Payloads,
    which: Which,
    mine: torch.Tensor,
    weights: Sequence[Sequence[float]],
) -> list[torch.Tensor | None]:
    """Return the mean of each fragment, flat; None for one in which nobody has weight."""
    rank = exchange.rank
    found: list[torch.Tensor | None] = []
    for place, (fragment, part) in enumerate(zip(which, payloads.split(which, mine), strict=True)):
        shares = [each[place] for each in weights]
        cuts = _cuts(payloads.numbers((fragment,)), exchange.size)
        spans = list(pairwise(cuts))
        lengths = [last - first for first, last in spans]
        given = exchange.scatter(
            [payloads.cut(fragment, part, *span) for span in spans] if shares[rank] else [],
            [payloads.size_of(length) for length in lengths],
            [bool(share) for share in shares],
        )
        if not any(shares):
            found.append(None)
            continue
        here = [one if share else None for one, share in zip(given, shares, strict=True)]
        mean = payloads.mean_of_span(fragment, spans[rank], here, shares, shares[rank])
        gathered = exchange.gather(mean, [payloads.size_of_mean(length) for length in lengths])
        whole = torch.empty(cuts[-1], dtype=torch.float32, device="cpu")
        for (first, last), one in zip(spans, gathered, strict=True):
            whole[first:last] = payloads.decoded_mean(one, last - first)
        found.append(whole)
    return found


def _cuts(numbers: int, members: int) -> list[int]:
    """Divide so many numbers in whole blocks; return where each member's part begins, and the end."""
    blocks = -(-numbers // BLOCK)
    return [min(numbers, blocks * member // members * BLOCK) for member in range(members)] + [numbers]
