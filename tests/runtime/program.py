"""A rank program as a user would write it: a small regression on the rows' lengths, with a Site.

Prints one JSON line at the end: what it trained on, and the hash of the anchor it ended with.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import torch

import curtail_dist as cd
from curtail_dist.state.version import Version


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


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", required=True)
    parser.add_argument("--site", required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    config = cd.RunConfig.from_yaml(args.config)
    options = config.train.options
    torch.manual_seed(options.get("model_seed", 7))
    model = torch.nn.Linear(2, options.get("width", 3))
    inner = torch.optim.SGD(model.parameters(), lr=0.01)
    seen = []
    gate = Path(options["gate"]) if "gate" in options else None
    try:
        with cd.Site(config, name=args.site) as site:
            outer = cd.DiLoCo(site, model, inner)
            for batch in site.batches(pack):
                loss = (model(batch.inputs) - batch.inputs[:, :1]).square().mean()
                loss.backward()
                inner.step()
                inner.zero_grad()
                site.note_loss(float(loss))
                seen.extend(batch.rows)
                while gate is not None and not gate.exists():
                    time.sleep(0.01)
                time.sleep(options.get("step_s", 0.0))
                outer.step(tokens=batch.num_tokens)
            outer.close()
            tensors = {f"parameter/{name}": value for name, value in outer.anchor().items()}
            state = Version(number=outer.version, tensors=tensors)
    except cd.UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(json.dumps({"site": args.site, "seen": seen, "version": state.number, "hash": state.hash}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
