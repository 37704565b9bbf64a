"""Mutants that are wrong about work which is not in every fragment yet."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from curtail_dist.membership import effects as do
from curtail_dist.membership.part import Part
from curtail_dist.membership.records import Card, Commit
from curtail_dist.sim.altering import Alter, commits
from curtail_dist.sim.setting import KEYS


def done_with_first_fragment(part: Part) -> Alter:
    """Counts rows as done as soon as one fragment has them."""
    del part

    def change(record: Commit) -> Commit:
        ledger = record.ledger
        for one in record.pending:
            ledger = ledger.with_done(one.work.rows, one.work.open)
        return replace(record, done=ledger.done, open=ledger.open, pending=())

    return _writing(change)


def pending_outlives_site(part: Part) -> Alter:
    """Lets the pending work of a lost site stand."""

    def change(record: Commit) -> Commit:
        kept = [one for one in part.head.pending if (one.version, one.work.site) in record.returned]
        return replace(record, pending=(*kept, *record.pending), returned=())

    return _writing(change)


def forgets_reset(part: Part) -> Alter:
    """Claims work for local parameters that were set back since."""
    del part
    return _saying(lambda card: replace(card, since=0))


def gives_rows_ahead_away(part: Part) -> Alter:
    """Keeps no row for the steps that are done while an exchange is under way, nor the one it has begun."""
    del part
    return _saying(lambda card: replace(card, ahead=()))


def _writing(change: Callable[[Commit], Commit]) -> Alter:
    def alter(effect: do.Effect[Any]) -> do.Steps[Any]:
        record = commits(effect)
        if record is not None and isinstance(effect, do.Transact):
            effect = do.Transact(effect.compare, {KEYS.head: change(record).encode()})
        return (yield effect)

    return alter


def _saying(change: Callable[[Card], Card]) -> Alter:
    def alter(effect: do.Effect[Any]) -> do.Steps[Any]:
        if isinstance(effect, do.GatherCards):
            effect = do.GatherCards(change(effect.card))
        return (yield effect)

    return alter
