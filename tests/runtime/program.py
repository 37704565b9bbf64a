"""A rank program as a user would write it: a small regression on the rows' lengths, with a Site.

Prints one JSON line at the end: what it trained on, the hash of the anchor it ended with, and how many steps
of a warm-up it did. Options of the run file's `train`, for tests: `step_s` (real time of a step, until there
is a file `hurry`), `width` and `model_seed` (another model), `lr` and `momentum` (the inner optimizer's),
`nan_at` (the step whose loss is no number), `nan_row` (the row with which no batch's loss is one), `tokens`
(what each step is said to have had), `says` (`tensors`, where a step's tokens and loss are told as these),
`gives` (what of its rows the pack gives out: `none` of them, or `fours`, without what is left over), `gate`
(a file to be waited for before the first step), `enter` (one to be waited for before the site comes in),
`die_at` (SITE:EFFECT:VERSION: SIGKILL before the first such step of the protocol on that version) and
`holds`, a directory: while it holds the file SITE.hold, that site waits two steps into a round, and says so
by SITE.held.
"""

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path

import torch

import curtail_dist as cd
from curtail_dist.state.version import Version

DEADLINE_S = 60.0
HOLD_STEPS = 2


class Batch:
    def __init__(self, rows):
        self.inputs = torch.tensor([[len(row.text) / 100.0, 1.0] for row in rows])
        self.num_tokens = len(rows)
        self.rows = [row.index for row in rows]


def pack(rows):
    held = []
    for row in rows:
        held.append(row)
        if len(held) == 4:
            yield Batch(held)
            held = []
    if held:
        yield Batch(held)


def pack_fours(rows):
    return (batch for batch in pack(rows) if batch.num_tokens == 4)


def pack_none(rows):
    for _ in rows:
        pass
    return iter(())


PACKS = {"all": pack, "fours": pack_fours, "none": pack_none}


class Holds:
    """Stops this site inside rounds, for a test that does something to it there."""

    def __init__(self, site, folder):
        self._site = site
        self._hold, self._held = folder / f"{site.name}.hold", folder / f"{site.name}.held"
        self._done = (-1, 0)

    def look(self):
        """Called before each step."""
        version = self._site.head.version
        steps = self._done[1] + 1 if self._done[0] == version else 0
        self._done = (version, steps)
        if steps == HOLD_STEPS and self._hold.exists():
            self._held.touch()
            wait_for(lambda: not self._hold.exists())
            self._held.unlink(missing_ok=True)


def wait_for(holds):
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        if time.monotonic() > deadline:
            raise SystemExit("the test has forgotten this process")
        time.sleep(0.01)


def deadly(name, where):
    """Return what kills this process at a step of the protocol, and says that it does."""
    victim, effect, version = where.split(":")
    held = {}

    def look(step):
        site = held["site"]
        if name == victim and step == effect and site.head is not None and site.head.version >= int(version):
            sys.stderr.write(f"dies at {step} on {site.head.version}\n")
            sys.stderr.flush()
            os.kill(os.getpid(), signal.SIGKILL)

    return look, held


def warm_up(model, inner):
    """Let torch load what its first step needs: it takes seconds, which are not to count as a round's."""
    (0.0 * model(torch.zeros(4, 2))).square().mean().backward()
    inner.step()
    inner.zero_grad()


def train(config, name):
    options = config.train.options
    torch.manual_seed(options.get("model_seed", 7))
    model = torch.nn.Linear(2, options.get("width", 3))
    lr, momentum = options.get("lr", 0.01), options.get("momentum", 0.0)
    inner = torch.optim.SGD(model.parameters(), lr=lr, momentum=momentum)
    warm_up(model, inner)
    seen, gentle = [], 0
    look, held = deadly(name, options.get("die_at", "::0"))
    if "enter" in options:
        wait_for(Path(options["enter"]).exists)
    with cd.Site(config, name=name, probe=look) as site:
        held["site"] = site
        outer = cd.DiLoCo(site, model, inner)
        holds = Holds(site, Path(options["holds"])) if "holds" in options else None
        for batch in site.batches(PACKS[options.get("gives", "all")]):
            if "gate" in options:
                wait_for(Path(options["gate"]).exists)
            if holds is not None:
                holds.look()
            loss = (model(batch.inputs) - batch.inputs[:, :1]).square().mean()
            if len(seen) == 4 * options.get("nan_at", -1) or options.get("nan_row") in batch.rows:
                loss = loss * torch.nan
            loss.backward()
            inner.step()
            inner.zero_grad()
            tensors = options.get("says") == "tensors"
            site.note_loss(loss if tensors else loss.item())
            seen.extend(batch.rows)
            gentle += outer.warmup < 1
            if "hurry" not in options or not Path(options["hurry"]).exists():
                time.sleep(options.get("step_s", 0.0))
            tokens = options.get("tokens", batch.num_tokens)
            outer.step(tokens=torch.tensor(tokens) if tensors else tokens, loss=loss if tensors else None)
        outer.close()
    tensors = {f"parameter/{key}": value for key, value in outer.anchor().items()}
    state = Version(number=outer.version, tensors=tensors)
    at_anchor = all(torch.equal(value, outer.anchor()[key]) for key, value in model.named_parameters())
    return {
        "site": name,
        "seen": seen,
        "version": state.number,
        "hash": state.hash,
        "at_anchor": at_anchor,
        "gentle": gentle,
    }


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", required=True)
    parser.add_argument("--site", required=True)
    parser.add_argument("--set", action="append", default=[])
    args = parser.parse_args()
    torch.set_num_threads(1)
    try:
        result = train(cd.RunConfig.from_yaml(args.config, args.set), args.site)
    except cd.CurtailError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2 if isinstance(error, cd.UserError) else 1
    sys.stdout.write(json.dumps(result) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
