"""How the loss went, for print: perplexity over tokens, unsmoothed and smoothed, and held-out bits per byte.

Perplexity is per token: the exponential of a training loss in nats per token, of the rows that a site was
just training on. Smoothed, it is the exponential of a mean of the losses so far in which each inner step
weighs as many tokens as it had, and half as much for each half-life in tokens since:

    smoothed = exp(sum of tokens_i * loss_i * 2^(-(T - T_i) / half-life) / sum of the same without loss_i)

T counts the tokens trained by all sites up to a moment, those thrown away later included. The held-out split
is evaluated in bits per byte, which compares across tokenizers; perplexity per byte is 2 to that.
"""

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from curtail_dist.report.history import History
from curtail_dist.telemetry.record import Record
from curtail_dist.units import Seconds

HALF_LIFE_SHARE = 0.02
"""Of the tokens of the longest run that is compared."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What one `step` event says."""

    t: Seconds
    site: str
    tokens: int
    """Tokens of its inner steps."""
    by_then: int
    """Tokens of all sites up to here."""
    loss: float | None
    """Nats per token; None where it was not said, or is no number."""


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """An evaluation on the held-out split."""

    t: Seconds
    version: int
    tokens: int
    """Tokens trained by all sites up to then."""
    bits_per_byte: float


def trained(records: Iterable[Record]) -> list[Trained]:
    """Return all inner steps of a run in order of run time."""
    told = [record for record in records if record.event == "step"]
    sums = accumulate(int(record["tokens"]) for record in told)
    return [
        Trained(
            t=record.t,
            site=record.site,
            tokens=int(record["tokens"]),
            by_then=by_then,
            loss=record["loss"] if record["loss"] is not None and math.isfinite(record["loss"]) else None,
        )
        for record, by_then in zip(told, sums, strict=True)
    ]


def held_out(history: History, steps: Sequence[Trained]) -> list[HeldOut]:
    """Return the evaluations of a run, in order of version, each beside the tokens trained by then."""
    moments = [step.t for step in steps]

    def by_then(t: Seconds) -> int:
        done = bisect_right(moments, t)
        return steps[done - 1].by_then if done else 0

    return [
        HeldOut(t=t, version=version, tokens=by_then(t), bits_per_byte=bits)
        for t, version, bits in history.evaluated
    ]


def half_life(tokens: Iterable[int]) -> float:
    """Return the half-life for runs of so many tokens, to two digits; at least a token."""
    most = HALF_LIFE_SHARE * max(tokens, default=0)
    return float(f"{most:.2g}") if most >= 1 else 1.0


def smoothed(steps: Iterable[Trained], half_life_tokens: float) -> list[float | None]:
    """Return the smoothed perplexity after each step; None as long as no loss was said."""
    weighed = weight = 0.0
    found: list[float | None] = []
    for step in steps:
        kept = 0.5 ** (step.tokens / half_life_tokens)
        weighed, weight = kept * weighed, kept * weight
        if step.loss is not None:
            weighed, weight = weighed + step.tokens * step.loss, weight + step.tokens
        found.append(perplexity(weighed / weight) if weight > 0 else None)
    return found


def byte_perplexity(bits: float) -> float:
    """Return 2 to bits per byte; infinite where that is beyond a float."""
    try:
        return 2.0**bits
    except OverflowError:
        return math.inf


def perplexity(loss: float) -> float:
    """Return e to a loss in nats; infinite where that is beyond a float."""
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf
