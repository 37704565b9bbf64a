"""How one member's round ends, step by step: what it asks for, given what it is answered."""

from facts import HEAD, epoch, member

from curtail_dist.membership import effects as do
from curtail_dist.membership.keys import Keys
from curtail_dist.membership.part import Part, Rules
from curtail_dist.membership.records import Commit, Work
from curtail_dist.membership.round import Ending, _adopt

RULES = Rules(
    total_rows=100,
    identity={},
    round_steps=4,
    ttl_s=3.0,
    grace_s=1.0,
    patience_s=1.0,
    outage_s=9.0,
    fragments=2,
)
NEXT = Commit(version=4, hash="h4", parent=HEAD.hash, epoch=7, total_rows=100, synced=(1,))
WORK = Work(site="boise", tokens=40, steps=4, rows=((20, 30),))


def asked(steps, **answers):
    """Carry out a part of the protocol; return what it asked for, in order."""
    found, answer = [], None
    while True:
        try:
            effect = steps.send(answer)
        except StopIteration:
            return found
        found.append(effect)
        answer = answers.get(type(effect).__name__)


def test_a_commit_that_was_prepared_before_a_member_was_lost_is_adopted_without_what_is_not_finite():
    """Its pending rows are in the pool again, so they must not stay in the local parameters either."""
    part = Part(me=member("boise"), rules=RULES, keys=Keys("t"))
    part.stands_on, part.seat = HEAD, epoch("adelaide", "boise")
    ending = Ending(
        done=do.Done(work=WORK, seconds=1.0, draining=False), which=(1,), finite=False, copy=NEXT.hash
    )
    found = asked(_adopt(part, ending, NEXT), Held=HEAD.hash)
    assert [type(effect) for effect in found] == [do.Held, do.Swap, do.Announce, do.Reset]
    assert (part.head, part.since) == (NEXT, NEXT.version)
