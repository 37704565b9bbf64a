"""Rounds without a site: exchanges by counting inner steps, for research and tests."""

import json
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch

from curtail_dist.errors import ConfigError, PeerLost
from curtail_dist.outer.anchor import Anchor
from curtail_dist.outer.exchange import Exchange, gather_messages
from curtail_dist.outer.rules import Share
from curtail_dist.state.snapshot import like

if TYPE_CHECKING:
    from curtail_dist.outer.optimizer import DiLoCo

_Landing = tuple[Anchor | None, list[Share]]
"""The next anchor, unless nobody had done anything, and what each contributor to it did."""

_ALIKE = {
    "model": "give each the same names and shapes of parameters",
    "fragments": "divide the model into the same",
    "codec": "give each the same",
    "outer optimizer": "give each the same, with the same learning rate, momentum and rules",
    "parameters": "seed the models alike, or let one that is new adopt() the state of another",
}
"""What is to be done about what differs between members of a group."""


@dataclass(frozen=True, kw_only=True)
class _Flight:
    """An exchange under way: one fragment, taken and not yet landed."""

    fragment: int
    share: Share
    """What went into its local parameters since it was last exchanged."""
    counts: bool
    spoiled: bool
    """Whether the local parameters are not finite: they are set back to the anchor then."""
    result: "Future[_Landing]"


class OwnRounds:
    """Counts inner steps; takes each fragment's pseudo-gradient and lands its outer step when they are due.

    With H = `every` and F fragments, one is due every H/F steps, in turn. It is taken `delay` steps before it
    lands, and exchanged in a thread meanwhile.
    """

    def __init__(self, outer: "DiLoCo", exchange: Exchange, *, every: int, delay: int, codec: str) -> None:
        """Begin at step 0. Raises ConfigError where the numbers do not fit each other."""
        fragments = len(outer.fragments)
        check_rounds(every=every, fragments=fragments, delay=delay)
        self._outer = outer
        self._exchange = exchange
        self._codec = codec
        self._met = False
        """Whether the members of this group are known to be alike."""
        self._period = every // fragments
        self._delay = delay
        self._steps = 0
        self._turn = 0
        self._shares = [Share()] * fragments
        self._before: list[Share] = []
        """What the contributors of the last exchange had done."""
        self._flight: _Flight | None = None
        self._closed = False
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="exchange") if delay else None

    def step_done(self, tokens: int) -> None:
        """Count an inner step; take and land what is due.

        Raises PeerLost: a member did not take part. The fragment then stays as it is locally, and what was
        done counts in its next exchange. Raises ConfigError where a group meets whose members do not fit, and
        after `close`.
        """
        if self._closed:
            raise ConfigError("outer.step() was called after outer.close(); close it after the last step")
        self._steps += 1
        self._shares = [Share(tokens=one.tokens + tokens, steps=one.steps + 1) for one in self._shares]
        if (self._steps + self._delay) % self._period == 0:
            self._take_off()
        if self._steps % self._period == 0:
            self._land()

    def regroup(self, exchange: Exchange) -> None:
        """Exchange with another group from now on. Raises ConfigError while an exchange is under way."""
        if self._flight is not None:
            raise ConfigError("an exchange is under way; regroup right after a step that completed one")
        self._exchange, self._met = exchange, False

    def close(self) -> None:
        """Land what is under way, leave the group; idempotent. What a missing peer prevents is dropped."""
        self._closed = True
        with suppress(PeerLost):
            self._land()
        self._exchange.close()
        if self._pool is not None:
            self._pool.shutdown(wait=False)

    def _take_off(self) -> None:
        fragment = self._turn
        payload = self._outer.encode((fragment,))
        share = self._shares[fragment]
        self._shares[fragment] = Share()
        spoiled = not self._outer.is_finite((fragment,), payload)
        counts = share.tokens > 0 and not spoiled
        mine = share if counts else Share()
        result = self._run(partial(self._fly, fragment, payload, mine))
        self._flight = _Flight(fragment=fragment, share=share, counts=counts, spoiled=spoiled, result=result)

    def _run(self, fly: Callable[[], _Landing]) -> "Future[_Landing]":
        """Begin an exchange in its thread; without a delay carry it out."""
        if self._pool is not None:
            return self._pool.submit(fly)
        result = Future[_Landing]()
        try:
            result.set_result(fly())
        except PeerLost as lost:
            result.set_exception(lost)
        return result

    def _fly(self, fragment: int, payload: torch.Tensor, share: Share) -> _Landing:
        """Exchange, and step a copy; return it and what its contributors had done."""
        if not self._met:
            self._meet()
        before = [[one.tokens, one.steps] for one in self._before]
        said = json.dumps([share.tokens, share.steps, before]).encode()
        heard = [json.loads(one) for one in gather_messages(self._exchange, said)]
        shares = [Share(tokens=tokens, steps=steps) for tokens, steps, _ in heard]
        now = [one for one in shares if one.tokens]
        if not now:
            return None, self._before
        each = [[one] for one in shares]
        mean = self._outer.exchanged(self._exchange, (fragment,), payload, each)
        known = next((one for *_, one in heard if one), [])
        others = [Share(tokens=tokens, steps=steps) for tokens, steps in known]
        changed = others if len(others) != len(now) else []
        return self._outer.stepped(mean, each, before=changed), now

    def _meet(self) -> None:
        """Look whether the members are alike in what must be; all raise the same ConfigError if not."""
        if self._exchange.size > 1:
            mine = {
                "model": like(self._outer.anchor()),
                "fragments": self._outer.fragments,
                "codec": self._codec,
                "outer optimizer": self._outer.outer_step,
                "parameters": self._outer.state.hash,
            }
            said = json.dumps(mine).encode()
            first, *others = [json.loads(one) for one in gather_messages(self._exchange, said)]
            for rank, other in enumerate(others, start=1):
                odd = next((what for what in mine if other[what] != first[what]), None)
                if odd is not None:
                    raise ConfigError(
                        f"rank {rank} of the group does not have rank 0's {odd}; all must begin alike: "
                        f"{_ALIKE[odd]}"
                    )
        self._met = True

    def _land(self) -> None:
        if self._flight is None:
            return
        flight, self._flight = self._flight, None
        self._turn = (self._turn + 1) % len(self._shares)
        try:
            anchor, contributors = flight.result.result()
        except PeerLost:
            self._take_back(flight)
            raise
        if anchor is not None:
            self._before = contributors
            self._outer.swap(anchor, (flight.fragment,))
        if flight.spoiled:
            self._start_over()
        moved = (flight.fragment,) if anchor is not None else ()
        self._outer.settle(moved if flight.counts else (), moved)

    def _take_back(self, flight: _Flight) -> None:
        """Let a fragment's work count in its next exchange; this one never will be."""
        since = self._shares[flight.fragment]
        self._shares[flight.fragment] = Share(
            tokens=flight.share.tokens + since.tokens, steps=flight.share.steps + since.steps
        )
        if flight.spoiled:
            self._start_over()
        self._outer.settle(())

    def _start_over(self) -> None:
        """Set the local parameters, which are not finite, back; the inner optimizer begins afresh."""
        self._outer.reset()
        self._outer.forget_inner()
        self._shares = [Share()] * len(self._shares)


def check_every(every: object) -> None:
    """Raise ConfigError unless this can be a number of inner steps."""
    if not isinstance(every, int) or every < 1:
        raise ConfigError(f"sync_every is {every!r}; without a site it must be a whole number, at least 1")


def check_rounds(*, every: int, fragments: int, delay: int) -> None:
    """Raise ConfigError unless fragments and delay fit the inner steps of a round."""
    if every % fragments:
        raise ConfigError(
            f"sync_every is {every}; it must be a multiple of the number of fragments, {fragments}"
        )
    most = every // fragments
    if not isinstance(delay, int) or not 0 <= delay < most:
        raise ConfigError(
            f"sync_delay is {delay!r}; it must be a whole number, at least 0 and less than the {most} inner "
            "steps between two exchanges"
        )
