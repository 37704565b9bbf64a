"""The protocol: one process's life in the run, from entering to leaving. Pure: it yields effects."""

import logging

from curtail_dist.data.ledger import Assignment
from curtail_dist.errors import Expelled, StoreUnavailable
from curtail_dist.membership.agreement import agree
from curtail_dist.membership.decisions import plan_round
from curtail_dist.membership.effects import (
    Await,
    Done,
    Enter,
    Reset,
    Secure,
    Steps,
    TakeKept,
    Tell,
    Train,
    Vacate,
    Wake,
    ask,
)
from curtail_dist.membership.entering import enter
from curtail_dist.membership.part import Part
from curtail_dist.membership.records import Presence, Work
from curtail_dist.membership.round import end_round, make_durable
from curtail_dist.membership.view import View
from curtail_dist.telemetry.events import Drained, Phase, RunFinished

_LOG = logging.getLogger(__name__)


def take_part(part: Part) -> Steps[None]:
    """A process's life in the run: come in, train, end the round with the others, leave; again if asked back.

    Raises:
        IdentityMismatch: this site would train something else than the run.
        StateDiverged: members computed different bytes; the run stops rather than fork.
        StateError: the run's state is to be had nowhere; RunForgotten: the store has lost the run.
        StoreUnavailable: the store stayed away longer than the bound; what was open is kept on this disk.
        OSError: the disk of the snapshots failed for longer than the bound.
        Superseded: a newer process of this site took its place.
    """
    yield from agree(part)
    while True:
        yield from _visit(part)
        if part.stands_on is None or part.head.complete or not (yield from _park(part)):
            return


def _visit(part: Part) -> Steps[None]:
    """Come in and take part until the run is complete or this site leaves; in again after an expulsion."""
    done, base = Done(work=_nothing(part)), part.stands_on
    while True:
        try:
            how = yield from enter(part)
            if how is None:
                part.left = True
                return
            yield from ask(Enter(how, part.head))
            if how == "pulled":
                yield from end_round(part, done)
            elif how == "resumed" and (kept := (yield from ask(TakeKept(part.head)))) is not None:
                base = part.head  # what an earlier process of this site could not hand over
                done, part.since = kept
                yield from end_round(part, done)
            while not (part.head.complete or part.left):
                base, done = part.head, (yield from _train(part))
                yield from end_round(part, done)
            return (yield from _say_goodbye(part))
        except Expelled as error:
            _LOG.warning("site %s: %s", part.me.site, error)
            part.seat = None
            yield from ask(Vacate())
            yield from ask(Reset(str(error)))
            done = Done(work=_nothing(part))
        except StoreUnavailable:
            if part.stands_on is not None:
                still_open = part.head == base  # else the commit that carries it stands
                yield from _secure(part, done if still_open else Done(work=_nothing(part)))
            raise


def _secure(part: Part, done: Done) -> Steps[None]:
    try:
        yield from ask(Secure(done, part.head, part.since))
    except OSError as error:
        _LOG.error("site %s: not all could be kept on this site's disk: %s", part.me.site, error)


def _train(part: Part) -> Steps[Done]:
    """Plan the next round, and do this member's part of it."""
    rules, head = part.rules, part.head
    assignments = plan_round(
        head, part.planned, part.keeping, steps=rules.period - rules.delay, delay=rules.delay
    )
    mine = assignments.get(part.me.site, Assignment(rows=(), steps=0))
    return (yield from ask(Train(part.epoch, head, mine, delay=0 if head.flush else rules.delay)))


def _say_goodbye(part: Part) -> Steps[None]:
    head = part.head
    if head.complete:
        yield from make_durable(part)
        yield from ask(Tell(RunFinished(version=head.version, hash=head.hash, tokens=head.tokens)))
    else:
        yield from ask(Tell(Drained(version=head.version)))
    part.seat = None
    yield from ask(Vacate())
    yield from ask(Tell(Phase(phase="idle")))


def _park(part: Part) -> Steps[bool]:
    """Stay in memory for a while; return whether this site is asked back."""
    if not part.rules.park_s:
        return False
    yield from ask(Tell(Phase(phase="parked")))
    part.shown = Presence(member=part.me, parked=True)
    yield from ask(Wake())

    def called(view: View) -> bool | None:
        if view.ending or (view.head is not None and view.head.complete):
            return False
        return None if view.draining else True

    if not (yield from ask(Await(called, part.rules.park_s))):
        return False  # it ends as it is shown, parked: its agent need not wonder
    part.left = False
    part.shown = Presence(member=part.me)
    yield from ask(Wake())
    return True


def _nothing(part: Part) -> Work:
    return Work(site=part.me.site, tokens=0, steps=0, rows=())
