"""A rank program whose inner steps cost next to nothing, with a Site and a trigger for faults.

It learns the mean of a function of its rows, so its loss falls. The ranks of a site average their gradients.
Options of the run file's `train`: `folder` (the lab's), `bulk` (parameters that only make the payload large),
`slowness` (steps take so many times longer), `drift` (what each inner step adds to one parameter: shows whose
steps weigh how much), `batch_rows` (rows of one rank's batch). The lab's folder holds `pace`: seconds that an
inner step takes, or `hold`, at which it does not end.
"""

import argparse
import json
import os
import sys
import time
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist

import curtail_dist as cd
from curtail_dist.state.version import Version
from faults.trigger import Trigger

WIDTH = 16
BATCH_ROWS = 4
LR = 0.05
DEADLINE_S = 180.0
SLICE_S = 0.02


class Batch:
    def __init__(self, rows):
        lengths = torch.tensor([float(len(row.text)) for row in rows])
        self.target = torch.sin(lengths[:, None] * torch.arange(1, WIDTH + 1) / 10.0).sum(dim=0) + len(rows)
        self.target /= max(1, len(rows))
        self.num_tokens = sum(len(row.text) + 1 for row in rows)
        self.seed = rows[0].index % 7 if rows else 0


def pack(rows, *, batch_rows):
    held = []
    for row in rows:
        held.append(row)
        if len(held) == batch_rows:
            yield Batch(held)
            held = []
    if held:
        yield Batch(held)


class Model(torch.nn.Module):
    def __init__(self, bulk):
        super().__init__()
        self.fit = torch.nn.Parameter(torch.zeros(WIDTH))
        self.drift = torch.nn.Parameter(torch.zeros(1))
        if bulk:
            self.bulk = torch.nn.Parameter(torch.randn(bulk))

    @torch.no_grad()
    def learn(self, batch, drift):
        """Set the gradient of `fit`, move the rest; return the loss."""
        gap = self.fit - batch.target
        grad = gap.clone()
        if dist.is_initialized():
            dist.all_reduce(grad)
            grad /= dist.get_world_size()
        self.fit.grad = grad
        self.drift.add_(drift)
        if hasattr(self, "bulk"):
            self.bulk.add_(1e-6 * (1 + batch.seed))
        return 0.5 * gap.square().sum().item()


class Pace:
    """How long an inner step takes now."""

    def __init__(self, folder, slowness):
        self._file = folder / "pace"
        self._slowness = slowness

    def wait(self):
        """Return when the step has taken as long as steps are to take now."""
        began = time.monotonic()
        while (left := self._said() - (time.monotonic() - began)) > 0:
            time.sleep(min(left, SLICE_S))

    def _said(self):
        said = self._file.read_text()
        return DEADLINE_S if said == "hold" else float(said) * self._slowness


class Chronicle:
    """Writes what the anchor was at each version: `versions-SITE-PID.jsonl`."""

    def __init__(self, folder, site, outer):
        self._file = (folder / f"versions-{site}-{os.getpid()}.jsonl").open("a", buffering=1)
        self._outer = outer
        self._seen = -1

    def look(self):
        if self._outer.version != self._seen:
            self._seen = self._outer.version
            drift = self._outer.anchor()["drift"].item()
            self._file.write(json.dumps({"version": self._seen, "drift": drift}) + "\n")


class Steps:
    """Counts inner steps of the open round."""

    def __init__(self):
        self._version = -1
        self.count = 0

    def next(self, version):
        self.count = self.count + 1 if version == self._version else 0
        self._version = version
        return self.count


def train(config, name):
    options = config.train.options
    folder = Path(options["folder"])
    torch.manual_seed(7)
    model = Model(options.get("bulk", 0))
    inner = torch.optim.SGD([model.fit], lr=LR)
    pace = Pace(folder, options.get("slowness", 1.0))
    holder = []

    def opened():
        """Version that the open round is to commit; 0 before the site is in."""
        return holder[0].head.version + 1 if holder and holder[0].head is not None else 0

    rank = int(os.environ.get("RANK", "0"))
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        # One rank has nobody to meet; a port that torchrun saw free a while ago may be another's by now.
        dist.init_process_group("gloo")
    trigger = Trigger(folder, f"{name}.{rank}" if rank else name, opened)
    batches = partial(pack, batch_rows=options.get("batch_rows", BATCH_ROWS))
    with cd.Site(config, name=name, probe=trigger.probe) as site:
        holder.append(site)
        outer = cd.DiLoCo(site, model, inner)
        chronicle, steps = Chronicle(folder, name, outer), Steps()
        for batch in site.batches(batches, empty=lambda: Batch([])):
            if not rank:
                chronicle.look()
            trigger.step(steps.next(outer.version))
            site.note_loss(model.learn(batch, options.get("drift", 0.0)))
            inner.step()
            pace.wait()
            outer.step(tokens=batch.num_tokens)
        if not rank:
            chronicle.look()
        outer.close()
    if dist.is_initialized():
        dist.destroy_process_group()
    if rank:
        return {"site": name, "version": outer.version}
    tensors = {f"parameter/{key}": value for key, value in outer.anchor().items()}
    return {
        "site": name,
        "version": outer.version,
        "hash": Version(number=outer.version, tensors=tensors).hash,
    }


def main(arguments) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", required=True)
    parser.add_argument("--site", required=True)
    args = parser.parse_args(arguments)
    try:
        result = train(cd.RunConfig.from_yaml(args.config), args.site)
    except cd.CurtailError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2 if isinstance(error, cd.UserError) else 1
    sys.stdout.write(json.dumps(result) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
