"""I2: what the records say of rows, compared with what was really trained, token by token."""

from collections.abc import Collection, Iterator, Sequence
from itertools import pairwise

from curtail_dist.membership.records import Commit
from curtail_dist.sim.chain import Chain
from curtail_dist.sim.state import Corpus, State
from curtail_dist.sim.world import World


def rows_done_once(world: World, chain: Chain) -> Iterator[str]:
    """Yield what is wrong: tokens done twice, rows missing or made up, work that was not done."""
    for head in chain.heads:
        state = world.states.get(head.commit.hash)
        if state is None:
            yield f"commit {head.commit.version} names {head.commit.hash}, a state that nobody computed"
            return
        yield from _work(head.commit, state)
    if not chain.heads:
        return
    final, corpus = chain.heads[-1].commit, world.setting.corpus
    state = world.states[final.hash]
    if world.setting.rules.fragments == 1:
        yield from _cover(final, state, corpus)
        return
    again = _returned([head.commit for head in chain.heads])
    for fragment in range(world.setting.rules.fragments):
        yield from _cover_fragment(final, state, corpus, fragment, again)


def _work(commit: Commit, state: State) -> Iterator[str]:
    """Compare a record's work with what its contributors trained on."""
    if not commit.work:
        return
    said = [(work.site, work.tokens, work.steps) for work in commit.work]
    done = [(payload.site, payload.tokens, payload.steps) for payload in state.payloads]
    if said != done:
        yield f"commit {commit.version} says (site, tokens, steps) {said}; really it was {done}"


def _returned(heads: Sequence[Commit]) -> set[int]:
    """Return the rows of all pending work that was lost with its site."""
    again: set[int] = set()
    for before, after in pairwise(heads):
        for work in (one.work for one in before.pending if (one.version, one.work.site) in after.returned):
            again |= {row for span in work.rows for row in range(*span)}
            again |= {row for row, _ in work.open}
    return again


def _cover_fragment(
    final: Commit, state: State, corpus: Corpus, fragment: int, again: Collection[int]
) -> Iterator[str]:
    """Compare the final ledger with what is in one fragment of the chain."""
    times: dict[int, list[int]] = {}
    for older in state.chain():
        for payload in older.payloads:
            for position, first, last in payload.parts.get(fragment, ()):
                counts = times.setdefault(position, [0] * corpus.length(position))
                counts[first:last] = [count + 1 for count in counts[first:last]]
    for position in (one for first, last in final.done for one in range(first, last)):
        counts = times.get(position, [0])
        if not all(counts):
            yield f"row {position} is done, and not all of it is in fragment {fragment}"
        elif max(counts) > 1 and position not in again:
            yield f"row {position} is in fragment {fragment} {max(counts)} times"


def _cover(final: Commit, state: State, corpus: Corpus) -> Iterator[str]:
    """Compare the final ledger with all that is in the chain."""
    reached: dict[int, int] = {}
    for older in reversed(list(state.chain())):
        for payload in older.payloads:
            for position, first, last in payload.spans:
                if reached.get(position, 0) != first:
                    yield (
                        f"row {position}: {payload.site} trained tokens [{first}, {last}) after "
                        f"{reached.get(position, 0)} tokens were in the chain"
                    )
                reached[position] = last
    whole = {position for position, last in reached.items() if last == corpus.length(position)}
    said = {position for first, last in final.done for position in range(first, last)}
    if whole != said:
        yield f"the ledger's rows differ from those done: {sorted(whole ^ said)[:10]}"
    begun = sorted((position, last) for position, last in reached.items() if position not in whole)
    if begun != list(final.open):
        yield f"the ledger has {list(final.open)} open; really it is {begun}"
