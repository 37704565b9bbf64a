"""A classifier of made-up images: DistributedDataParallel among a site's ranks, DiLoCo among sites.

Row n of the data set is drawn from n: a square, a disc, a cross or a ring, somewhere on a noisy ground.
"""

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

import curtail_dist as cd

SIDE, KINDS, BATCH = 24, 4, 16


def drawn(number: int) -> tuple[Tensor, int]:
    """An image [1, SIDE, SIDE], and which kind of thing is on it."""
    chance = torch.Generator().manual_seed(number)
    kind = number % KINDS
    row, column = (torch.rand(2, generator=chance) * (SIDE - 12) + 6).tolist()
    radius = 3 + 2 * torch.rand(1, generator=chance).item()
    down = torch.arange(SIDE).view(-1, 1) - row
    right = torch.arange(SIDE).view(1, -1) - column
    far = (down**2 + right**2).sqrt()
    shapes = (
        (down.abs() < radius) & (right.abs() < radius),
        far < radius,
        ((down.abs() < 1.5) | (right.abs() < 1.5)) & (far < radius + 1),
        (far - radius).abs() < 1,
    )
    return (shapes[kind].float() + 0.3 * torch.randn(SIDE, SIDE, generator=chance)).unsqueeze(0), kind


def build_model() -> nn.Module:
    """A small convolutional network: images [B, 1, SIDE, SIDE] in, logits [B, KINDS] out."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(3),
        nn.Flatten(),
        nn.Linear(32 * 9, KINDS),
    )


def loss_of(model: nn.Module, numbers: list[int]) -> Tensor:
    """The mean loss of some rows; of none, a zero that takes part in what the ranks do together."""
    images, kinds = zip(*(drawn(number) for number in numbers or [0]), strict=True)
    losses = F.cross_entropy(model(torch.stack(images)), torch.tensor(kinds), reduction="none")
    return losses.mean() if numbers else 0.0 * losses.sum()


def main(config: cd.RunConfig, name: str) -> None:
    """Train at site `name`, as one rank of it."""
    several = config.site(name).provisioner.ranks > 1
    if several:
        dist.init_process_group("gloo")  # nccl on GPUs
    torch.manual_seed(config.run.seed)
    model = build_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    with cd.Site(config, name) as site:
        outer = cd.DiLoCo(site, model, optimizer)  # the model itself: DDP is the site's own matter
        trained = DistributedDataParallel(model) if several else model
        for numbers in site.indices(batch=BATCH):
            loss = loss_of(trained, numbers)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            outer.step(tokens=len(numbers), loss=loss.item() if numbers else None)
    if several:
        dist.destroy_process_group()


if __name__ == "__main__":
    main(*cd.arguments())
