"""`curtail-sim`: plays schedules by seed, and shows those that break an invariant."""

import argparse
import multiprocessing
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial

from curtail_dist.sim.mutants import MUTANTS
from curtail_dist.sim.run import Outcome, simulate
from curtail_dist.sim.timeline import heading, lines

_SHOWN = 20
_CHUNK = 10


def main(argv: Sequence[str] | None = None) -> int:
    """Play what the arguments say; return 0 where all invariants held, 1 otherwise, 2 on bad input."""
    parser = _parser()
    try:
        given = parser.parse_args(argv)
        seeds = _seeds(given.seeds)
    except SystemExit as stop:
        return int(stop.code or 0)
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    mutant = MUTANTS.get(given.mutant)
    if given.seed is not None:
        outcome = simulate(given.seed, mutant)
        _show(outcome, whole=True)
        return 1 if outcome.wrong else 0
    began = time.monotonic()
    failed = 0
    for seed, wrong in _play(seeds, given.mutant, given.jobs):
        failed += 1
        if failed <= _SHOWN:
            _say(f"seed {seed}: {wrong[0]}")
        if failed == 1 and not given.mutant:
            _show(simulate(seed), whole=False)
    _say(
        f"{len(seeds)} schedules in {time.monotonic() - began:.0f} s, {failed} broke an invariant"
        + (f"; replay one with: curtail-sim --seed N{_replay(given.mutant)}" if failed else "")
    )
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="curtail-sim", description=__doc__)
    parser.add_argument("--seeds", default="0:2000", metavar="A:B", help="play these (B not included)")
    parser.add_argument("--seed", type=int, metavar="N", help="play one and show its timeline")
    parser.add_argument("--mutant", default="", choices=["", *MUTANTS], help="play a protocol that is wrong")
    parser.add_argument("--jobs", type=int, default=multiprocessing.cpu_count(), help="processes")
    return parser


def _seeds(text: str) -> range:
    """Return the seeds of `A:B`. Raises ValueError."""
    first, colon, last = text.partition(":")
    if not colon or not first.isdecimal() or not last.isdecimal() or int(first) >= int(last):
        raise ValueError(f"--seeds is {text!r}; it must be A:B with 0 <= A < B")
    return range(int(first), int(last))


def _play(seeds: range, mutant: str, jobs: int) -> Iterator[tuple[int, Sequence[str]]]:
    """Yield the seeds that break an invariant, in order, with what is wrong."""
    judge = partial(_judge, mutant=mutant)
    if jobs <= 1:
        yield from filter(_wrong, map(judge, seeds))
        return
    with multiprocessing.Pool(jobs) as pool:
        yield from filter(_wrong, pool.imap(judge, seeds, chunksize=_CHUNK))


def _judge(seed: int, *, mutant: str) -> tuple[int, Sequence[str]]:
    return seed, simulate(seed, MUTANTS.get(mutant)).wrong


def _wrong(judged: tuple[int, Sequence[str]]) -> bool:
    return bool(judged[1])


def _replay(mutant: str) -> str:
    return f" --mutant {mutant}" if mutant else ""


def _show(outcome: Outcome, *, whole: bool) -> None:
    """Show what was played, its timeline (the end of it unless `whole`), and what is wrong."""
    told = list(lines(outcome.history))
    for line in [*heading(outcome.setting), *(told if whole else told[-60:]), *outcome.wrong]:
        _say(line)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
