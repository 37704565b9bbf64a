"""A model of any size for measuring what surrounds training: blocks between an embedding and a head."""

import torch


class Stack(torch.nn.Module):
    """Square matrices in a row, as wide as the embedding. Trained on noise; it is to learn nothing."""

    def __init__(self, width: int, blocks: int, vocabulary: int) -> None:
        """Have blocks x width^2 + 2 x vocabulary x width parameters, the same at all sites."""
        super().__init__()
        torch.manual_seed(1)
        self.embedding = torch.nn.Embedding(vocabulary, width)
        self.blocks = torch.nn.ModuleList(torch.nn.Linear(width, width, bias=False) for _ in range(blocks))
        self.head = torch.nn.Linear(width, vocabulary, bias=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return logits [batch, vocabulary] for tokens [batch]."""
        x = self.embedding(tokens)
        for block in self.blocks:
            x = x + torch.nn.functional.silu(block(x))
        return self.head(x)

    @property
    def numbers(self) -> int:
        """Number of parameters."""
        return sum(one.numel() for one in self.parameters())


def drift(model: torch.nn.Module, generator: torch.Generator) -> None:
    """Move all parameters a little at random: an inner step that costs nothing to speak of."""
    with torch.no_grad():
        for one in model.parameters():
            one.add_(torch.randn(one.shape, generator=generator), alpha=1e-3)
