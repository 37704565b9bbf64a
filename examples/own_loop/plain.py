"""A small byte-level language model, trained on the sources of Python's standard library.

plain.py trains it at one place, elastic.py at sites that come and go: `diff plain.py elastic.py`.
"""

import sysconfig
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ROWS, LENGTH, BATCH = 1024, 64, 16


def corpus() -> Tensor:
    """The first bytes of the standard library's modules, [ROWS, LENGTH + 1]."""
    sources = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    text, size = b"", ROWS * (LENGTH + 1)
    while len(text) < size:
        text += sources.pop(0).read_bytes()
    return torch.frombuffer(bytearray(text[:size]), dtype=torch.uint8).view(ROWS, LENGTH + 1).long()


class Model(nn.Module):
    """Bytes in, the next byte's logits out."""

    def __init__(self, width: int = 96) -> None:
        super().__init__()
        self.embed = nn.Embedding(256, width)
        self.mix = nn.GRU(width, width, batch_first=True)
        self.head = nn.Linear(width, 256)

    def forward(self, batch: Tensor) -> Tensor:
        """The mean loss of a batch, [B, LENGTH + 1], in nats a byte."""
        mixed, _ = self.mix(self.embed(batch[:, :-1]))
        return F.cross_entropy(self.head(mixed).flatten(0, 1), batch[:, 1:].flatten())


def main() -> Model:
    """Train for one pass over the rows."""
    torch.manual_seed(1)
    rows, model = corpus(), Model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step, numbers in enumerate(torch.randperm(ROWS).split(BATCH)):
        loss = model(rows[numbers])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if step % 8 == 0:
            print(f"step {step}: loss {loss.item():.3f}")
    return model


if __name__ == "__main__":
    torch.save(main().state_dict(), "model.pt")
