"""Measures torchft and this library side by side: stall, bytes at the socket, and a killed site.

    uv pip install --python .venv/bin/python --target /tmp/torchft --no-deps torchft
    PYTHONPATH=/tmp/torchft python benchmarks/bench_outer_torchft.py [--repetitions 2]
        [--out benchmarks/results/outer_torchft.json]

Both train the same model of 5.5 M parameters at two sites over a link of 100 Mbit/s, with the same fragments,
H and delay; a step is a wait of fixed length, so that the cores are free as beside an accelerator. torchft's
lighthouse is at a third site on the same network. Stall is what a round took beyond its steps.

torchft quantises on CUDA only: on these machines it sends fp32, whatever it is told. It averages by an
all-reduce, whose bytes at two sites are those of sending each payload whole.

Killed: one of two processes by SIGKILL, in the middle between two syncs or half a second into an exchange.
The survivor goes on by what the library offers to a script: torchft by its quorum; this library without a
site, where a script that catches PeerLost goes on in another group from the next exchange on. (With a site
the round's end is repeated at once: see bench_faults.py.) A connection that carries nothing tells it that the
other process has ended, as a site's does. Saved: seconds from the kill to the next outer
step, and the survivor's inner steps that were thrown away, told by its parameters.
"""

import argparse
import os
import signal
import tempfile
import threading
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from thinlink.model import Stack
from thinlink.record import conditions, save, spread
from thinlink.rivals import FRAGMENTS, lighthouse, wrapped
from thinlink.sites import Place, Sites, receive, thin_link
from thinlink.sockets import tcp_sent

from curtail_dist.outer.codec import CODECS

RATE_BIT_S = 1e8
SIZE = (768, 8, 512)
EVERY = 48
CASES = (
    ("torchft", 1, 0),
    ("fp32", 1, 0),
    ("torchft", FRAGMENTS, 1),
    ("fp32", FRAGMENTS, 1),
    ("int4", FRAGMENTS, 1),
)
"""Library or codec of ours, fragments, delay."""
KILL_EVERY = 20
KILL_STEP_S = 0.05
KILLED_AT = {"between syncs": 0.5, "inside an exchange": 1.0}
"""Share of a round's steps; at its end the kill comes half a second into the exchange."""
INSIDE_S = 0.5
PATIENCE_S = 90.0


def train(place: Place, how: str, fragments: int, delay: int) -> dict[str, float] | None:
    """Train a round to warm up and one that is measured."""
    torch.set_num_threads(1)
    if place.rank == 2:
        return lighthouse(place, 600.0)
    model = Stack(*SIZE)
    numbers = model.numbers
    both = wrapped(place, model, how, (EVERY, fragments, delay))
    for _ in range(EVERY):
        both.step()
    time.sleep(0.5)
    sent, commits = tcp_sent(), both.commits
    began = time.monotonic()
    for _ in range(EVERY):
        time.sleep(step_s(numbers))
        both.step()
    took = time.monotonic() - began
    time.sleep(0.5)
    sent = tcp_sent().since(sent)
    compute = EVERY * step_s(numbers)
    return {
        "stall_share": 1 - compute / took,
        "round_s": took,
        "bytes_a_parameter": sent.once / numbers,
        "bytes_sent_again_a_parameter": sent.again / numbers,
        "commits": both.commits - commits,
    }


def survive(place: Place, how: str, kill: str, note: str) -> dict[str, Any] | None:
    """Train three rounds; in the second rank 1 dies, and rank 0 trains until it has committed again."""
    torch.set_num_threads(1)
    if place.rank == 2:
        return lighthouse(place, 600.0)
    model = Stack(*SIZE)
    both = wrapped(place, model, how, (KILL_EVERY, 1, 0))
    commits: list[float] = []
    deadline = time.monotonic() + PATIENCE_S
    lost, steps, done = 0, 0, both.commits
    while time.monotonic() < deadline and not (killed(note) and commits and commits[-1] > killed(note)):
        time.sleep(KILL_STEP_S)
        steps += 1
        inner_step(model)
        if place.rank == 1:
            die_when_due(steps, kill, note)
        local = next(model.parameters()).detach().clone()
        both.step()
        if both.commits > done:
            done = both.commits
            commits.append(time.monotonic())
        elif not torch.equal(next(model.parameters()).detach(), local):  # set back without a commit
            lost += KILL_EVERY
    usual = commits[1] - commits[0] if len(commits) > 1 and commits[1] < killed(note) else float("nan")
    again = [one for one in commits if one > killed(note)]
    return {
        "commit_after_kill_s": again[0] - killed(note) if again else None,
        "usual_round_s": usual,
        "survivor_steps_lost": lost,
    }


def inner_step(model: Stack) -> None:
    """Move the parameters, so that it shows if they are set back."""
    with torch.no_grad():
        for one in model.parameters():
            one.add_(1e-3)


def die_when_due(steps: int, kill: str, note: str) -> None:
    """Kill this process in the third round where the case says so, and note when."""
    if steps != 2 * KILL_EVERY + round(KILL_EVERY * KILLED_AT[kill]):
        return

    def die() -> None:
        Path(note).write_text(str(time.monotonic()))
        os.kill(os.getpid(), signal.SIGKILL)

    if kill == "between syncs":
        die()
    threading.Timer(INSIDE_S, die).start()


def killed(note: str) -> float:
    """Return when the site was killed; infinite before."""
    text = Path(note).read_text() if Path(note).exists() else ""
    return float(text) if text else float("inf")


def step_s(numbers: int) -> float:
    """As in bench_outer_stall: int4 sends .5 MB a second of compute."""
    return CODECS["int4"].size(numbers) / 0.5e6 / EVERY


def pair(sites: Sites, program: Any, *arguments: Any, ranks: tuple[int, ...]) -> list[Any]:
    """Run a program at all sites; return the results of some, and end the others."""
    ends = sites.start(program, *arguments)
    try:
        return [receive(ends[rank]) for rank in ranks]
    finally:
        sites.end()


def side_by_side(sites: Sites, repetitions: int) -> list[dict[str, Any]]:
    """Alternate the cases; return their figures, of both sites."""
    found: dict[tuple[str, int, int], list[dict[str, float]]] = {}
    for _ in range(repetitions):
        for case in CASES:
            found.setdefault(case, []).extend(pair(sites, train, *case, ranks=(0, 1)))
            print(case, found[case][-1], flush=True)
    return [
        {
            "library": "torchft" if how == "torchft" else "curtail_dist",
            "codec": "fp32" if how == "torchft" else how,
            "fragments": fragments,
            "sync_delay": delay,
            **{name: spread([one[name] for one in runs]) for name in runs[0]},
        }
        for (how, fragments, delay), runs in found.items()
    ]


def kills(sites: Sites, repetitions: int) -> list[dict[str, Any]]:
    """Alternate the libraries and kinds of kill; return what the survivors saw."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for _ in range(repetitions):
        for kill in KILLED_AT:
            for how in ("torchft", "fp32"):
                with tempfile.TemporaryDirectory() as scratch:
                    result = pair(sites, survive, how, kill, str(Path(scratch) / "killed"), ranks=(0,))
                found.setdefault((how, kill), []).extend(result)
                print(how, kill, result, flush=True)
    return [
        {"library": "torchft" if how == "torchft" else "curtail_dist, no site", "killed": kill, "runs": runs}
        for (how, kill), runs in found.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/outer_torchft.json"))
    args = parser.parse_args()
    try:
        theirs = version("torchft")
    except PackageNotFoundError:
        parser.error("torchft is not installed; the first line of --help says how to")
    before = conditions()
    with thin_link(3, RATE_BIT_S) as sites:
        result = {
            "torchft": theirs,
            "link": sites.link,
            "model": {"parameters": Stack(*SIZE).numbers, "sync_every": EVERY},
            "step_s": step_s(Stack(*SIZE).numbers),
            "cases": side_by_side(sites, args.repetitions),
            "kills": {
                "sync_every": KILL_EVERY,
                "step_s": KILL_STEP_S,
                "cases": kills(sites, args.repetitions),
            },
        }
    save(args.out, result, before=before)


if __name__ == "__main__":
    main()
