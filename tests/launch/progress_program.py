"""A rank program whose sites train at unequal speed: it prints what `site.tokens` was after each step.

A line of JSON: [[version of head, tokens of head, tokens so far as this site estimates them], ...]. Option of
the run file's `train`: `step_s`, the real time of a step, by site.
"""

import argparse
import json
import sys
import time

import torch

import curtail_dist as cd


class Batch:
    def __init__(self, rows):
        self.inputs = torch.tensor([[len(row.text) / 100.0, 1.0] for row in rows])
        self.num_tokens = len(rows)


def pack(rows):
    held = []
    for row in rows:
        held.append(row)
        if len(held) == 4:
            yield Batch(held)
            held = []
    if held:
        yield Batch(held)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", required=True)
    parser.add_argument("--site", required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    config = cd.RunConfig.from_yaml(args.config)
    model = torch.nn.Linear(2, 1)
    inner = torch.optim.SGD(model.parameters(), lr=0.01)
    found = []
    with cd.Site(config, name=args.site) as site:
        outer = cd.DiLoCo(site, model, inner)
        for batch in site.batches(pack):
            model(batch.inputs).square().mean().backward()
            inner.step()
            inner.zero_grad()
            time.sleep(config.train.options["step_s"][args.site])
            before = site.head
            outer.step(tokens=batch.num_tokens)
            if site.head == before:
                found.append([before.version, before.tokens, site.tokens])
        outer.close()
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
