"""A model that knows of each character which one follows, and its tokenizer."""

import torch


class Characters:
    """A whole tokenizer: a token for each character, bos is 0."""

    bos_id = 0

    def encode(self, text):
        return [ord(c) for c in text]


class Follows(torch.nn.Module):
    """A model to which, after each character, the one in `table` is the likeliest, and all others equal."""

    def __init__(self, table, positions=64):
        super().__init__()
        self.cos = torch.zeros(positions, 1)
        self.head = torch.nn.Linear(1, 1)
        self.table = {ord(one): ord(two) for one, two in table.items()}
        self.seen = []

    def logits(self, ids):
        self.seen.append(ids.tolist())
        z = torch.zeros(*ids.shape, 128)
        for b, row in enumerate(ids.tolist()):
            for t, token in enumerate(row):
                z[b, t, self.table.get(token, 127)] = 5.0
        return z
