"""Mutants that count, plan or keep what they must not."""

from dataclasses import replace
from typing import Any

from curtail_dist.membership import effects as do
from curtail_dist.membership.decisions import plan_round
from curtail_dist.membership.part import Part
from curtail_dist.membership.records import CloseRequest
from curtail_dist.sim.altering import Alter, commits
from curtail_dist.sim.setting import KEYS


def joiner_counts_source(part: Part) -> Alter:
    """A site that pulled the state counts the steps of who gave it as its own."""
    pulled = False

    def alter(effect: do.Effect[Any]) -> do.Steps[Any]:
        nonlocal pulled
        if isinstance(effect, do.Enter):
            pulled = effect.how == "pulled"
        elif isinstance(effect, do.Swap):
            pulled = False
        elif isinstance(effect, do.GatherCards) and pulled and part.head.work:
            source = part.head.work[0]
            work = replace(effect.card.work, tokens=source.tokens, steps=source.steps)
            effect = do.GatherCards(replace(effect.card, work=work))
        return (yield effect)

    return alter


def dead_rows_not_returned(part: Part) -> Alter:
    """Counts the rows as done that were reserved for a site that died."""

    def alter(effect: do.Effect[Any]) -> do.Steps[Any]:
        record = commits(effect)
        if record is not None and isinstance(effect, do.Transact) and part.planned:
            assigned = plan_round(part.head, part.planned, part.keeping, steps=part.rules.period)
            dead = [
                span for site in part.planned if site not in part.epoch.sites for span in assigned[site].rows
            ]
            ledger = record.ledger.with_done(dead)
            effect = do.Transact(
                effect.compare, {KEYS.head: replace(record, done=ledger.done, open=ledger.open).encode()}
            )
        return (yield effect)

    return alter


def expelled_keeps_round(part: Part) -> Alter:
    """Trains on from its own parameters after an expulsion."""

    def alter(effect: do.Effect[Any]) -> do.Steps[Any]:
        if isinstance(effect, do.Reset) and part.seat is None:
            return None
        return (yield effect)

    return alter


def open_rows_from_start(part: Part) -> Alter:
    """Trains rows from their beginning although the chain has a part of them."""
    del part

    def alter(effect: do.Effect[Any]) -> do.Steps[Any]:
        if isinstance(effect, do.Train):
            effect = replace(effect, assignment=replace(effect.assignment, open=()))
        return (yield effect)

    return alter


def plans_for_present_epoch(part: Part) -> Alter:
    """Plans a round for the members of the epoch it sees, not for those of the last exchange."""

    def alter(effect: do.Effect[Any]) -> do.Steps[Any]:
        if isinstance(effect, do.Train):
            assigned = plan_round(part.head, effect.epoch.sites, part.keeping, steps=part.rules.period)
            effect = replace(effect, assignment=assigned[part.me.site])
        return (yield effect)

    return alter


def key_for_each_round(part: Part) -> Alter:
    """Asks for the end of each round under a key of its own."""

    def alter(effect: do.Effect[Any]) -> do.Steps[Any]:
        if isinstance(effect, do.Put) and effect.key == KEYS.close(part.me.site):
            request = CloseRequest.decode(effect.value)
            effect = do.Put(f"{effect.key}/{request.epoch}/{request.round}", effect.value)
        return (yield effect)

    return alter
