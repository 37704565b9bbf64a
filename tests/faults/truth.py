"""What a run's store and its members' events say it did, and whether the two agree."""

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from curtail_dist.membership.records import Commit, Epoch
from faults.lab import Lab

WAIT_S = 10.0


@dataclass(frozen=True, kw_only=True)
class History:
    """Every value that the run's two records ever had, in order."""

    heads: Sequence[Commit]
    epochs: Sequence[Epoch]

    @property
    def chain(self) -> dict[int, Commit]:
        """The commits that stand, by version: a head written at a lower version drops what followed."""
        chain: dict[int, Commit] = {}
        for head in self.heads:
            chain = {version: commit for version, commit in chain.items() if version < head.version}
            chain[head.version] = head
        return chain

    @property
    def rewinds(self) -> int:
        """How often head went back."""
        return sum(b.version <= a.version for a, b in itertools.pairwise(self.heads))


def history(lab: Lab) -> History:
    """Read all that was ever written, from the store's first revision on."""
    heads: list[Commit] = []
    epochs: list[Epoch] = []
    until = lab.store.list(lab.keys.root).revision
    watch = lab.store.watch(lab.keys.root, revision=1)
    marker = f"{lab.keys.root}read"
    try:
        reached = 0
        end = lab.store.put(marker, b'{"schema":1}')
        while reached < max(until, end):
            changes = watch.next(WAIT_S)
            assert changes, "the store does not give its history"
            reached = changes[-1].revision
            for change in changes:
                if change.entry is not None and change.key == lab.keys.head:
                    heads.append(Commit.decode(change.entry.value))
                elif change.entry is not None and change.key == lab.keys.epoch:
                    epochs.append(Epoch.decode(change.entry.value))
    finally:
        watch.close()
    return History(heads=heads, epochs=epochs)


def verify(lab: Lab, *, complete: bool = True) -> dict[str, Any]:
    """Check agreement, parentage and rows over the whole run; return figures.

    The rows are counted from the members' own events; a commit that no member lived to tell of is counted
    from the store, and said to be unwitnessed.
    """
    past = history(lab)
    chain = past.chain
    _check_parents(chain)
    _check_events(lab, past)
    told = {
        (event["version"], event["hash"]): [(work["site"], work["rows"]) for work in event["work"]]
        for event in lab.events.of("commit")
    }
    covered: Counter[int] = Counter()
    unwitnessed = 0
    for version, commit in chain.items():
        recorded = [(work.site, [list(span) for span in work.rows]) for work in commit.work]
        if not version:
            continue
        unwitnessed += (version, commit.hash) not in told
        counted = told.get((version, commit.hash), recorded)
        assert counted == recorded, f"members and store differ on the work in version {version}"
        for _, spans in counted:
            for first, last in spans:
                covered.update(range(first, last))
    duplicated = sum(times > 1 for times in covered.values())
    lost = lab.total_rows - len(covered) if complete else 0
    assert duplicated == 0, f"{duplicated} rows are in the chain twice"
    assert lost == 0, f"{lost} rows are missing"
    return {
        "commits": max(chain),
        "epochs": len(past.epochs),
        "rewinds": past.rewinds,
        "unwitnessed_commits": unwitnessed,
        "rows": len(covered),
        "rows_lost": lost,
        "rows_duplicated": duplicated,
    }


def _check_parents(chain: dict[int, Commit]) -> None:
    assert sorted(chain) == list(range(len(chain))), "a version is missing"
    for version, commit in chain.items():
        if version:
            assert commit.parent == chain[version - 1].hash, f"version {version} has another parent"


def _check_events(lab: Lab, past: History) -> None:
    """Whoever said that it holds a version held the bytes that the store names for it."""
    known = {(head.version, head.hash) for head in past.heads}
    for event in lab.events.of("commit"):
        held = (event["version"], event["hash"])
        assert held in known, f"{event.site} held {held}, which was never head"


def lost_steps(lab: Lab, site: str) -> int:
    """Inner steps that a site did and that are not in the chain."""
    done = sum(event["steps"] for event in lab.events.of("step", site=site))
    works = [work for commit in history(lab).chain.values() for work in commit.work]
    return done - sum(work.steps for work in works if work.site == site)
