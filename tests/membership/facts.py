"""Records to decide from, written short."""

from hypothesis import strategies as st

from curtail_dist.membership.records import Card, Commit, Epoch, Member, Work

NAMES = ["adelaide", "boise", "cork", "delft"]
HEAD = Commit(version=3, hash="h3", parent="h2", epoch=6, total_rows=100, done=((0, 20),), tokens=80, steps=8)


def member(site, life=1):
    """Each site has incarnations of its own, as in a run."""
    return Member(site=site, incarnation=f"{site}{life}", host="127.0.0.1", group_port=1, state_port=2)


def epoch(*sites, number=7):
    return Epoch(number=number, members=tuple(member(site) for site in sites), reason="joined")


def card(site, *, tokens=40, steps=4, rows=(), open=(), seconds=2.0, finite=True, draining=False, ready=()):
    """A card on top of HEAD."""
    work = Work(site=site, tokens=tokens, steps=steps, rows=tuple(rows), open=tuple(open))
    return Card(
        epoch=7,
        version=HEAD.version,
        base=HEAD.hash,
        work=work,
        seconds=seconds,
        finite=finite,
        draining=draining,
        ready=tuple(ready),
    )


def idle(site):
    return card(site, tokens=0, steps=0, seconds=0.0)


members = st.builds(
    Member,
    site=st.sampled_from(NAMES),
    incarnation=st.text("0123456789abcdef", min_size=1, max_size=8),
    host=st.just("127.0.0.1"),
    group_port=st.integers(1, 65535),
    state_port=st.integers(1, 65535),
)


@st.composite
def rounds(draw):
    """Cards of one round in rank order, each with free rows of its own, the last of which may be open."""
    sites = sorted(draw(st.sets(st.sampled_from(NAMES), min_size=1)))
    cards, at = [], HEAD.ledger.rows_done
    for site in sites:
        length = draw(st.integers(0, 18))
        begun = draw(st.integers(0, 9))
        cards.append(
            card(
                site,
                tokens=draw(st.integers(0, 500)),
                steps=draw(st.integers(0, 9)),
                rows=[(at, at + length)] if length else [],
                open=[(at + length, begun)] if begun else [],
                seconds=draw(st.floats(0, 100)),
                finite=draw(st.booleans()),
                draining=draw(st.booleans()),
                ready=draw(st.lists(members, max_size=2)),
            )
        )
        at += length + 1
    return cards
