"""I2: what the records say of rows, compared with what was really trained, token by token."""

from collections.abc import Iterator

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
    if chain.heads:
        final = chain.heads[-1].commit
        yield from _cover(final, world.states[final.hash], world.setting.corpus)


def _work(commit: Commit, state: State) -> Iterator[str]:
    """Compare a record's work with what its contributors trained on."""
    if not commit.work:
        return
    said = [(work.site, work.tokens, work.steps) for work in commit.work]
    done = [(payload.site, payload.tokens, payload.steps) for payload in state.payloads]
    if said != done:
        yield f"commit {commit.version} says (site, tokens, steps) {said}; really it was {done}"


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
