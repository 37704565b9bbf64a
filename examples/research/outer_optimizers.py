"""Two outer optimizers, without any site: what Nesterov momentum gains over plain averaging.

Each site is a thread here, and the exchange is memory. Run it as a script, or cell by cell in an editor that
knows `# %%`. It writes `outer_optimizers.png`.
"""

# %% What is learned: a noisy function of 8 numbers; each member sees its own noise.
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

import curtail_dist as cd

SITES, ROUNDS, STEPS, BATCH = 4, 30, 20, 32


def drawn(chance: torch.Generator, rows: int) -> tuple[Tensor, Tensor]:
    """Inputs [rows, 8] and noisy targets [rows, 1]."""
    inputs = torch.randn(rows, 8, generator=chance)
    clean = (inputs[:, :4].sin() * inputs[:, 4:].cos()).sum(dim=1, keepdim=True)
    return inputs, clean + 0.3 * torch.randn(rows, 1, generator=chance)


HELD_OUT = drawn(torch.Generator().manual_seed(0), 2048)


# %% One member: an inner optimizer, and DiLoCo over whatever exchange it is given.
def train(member: cd.Exchange, outer: type[torch.optim.Optimizer]) -> list[float]:
    """The held-out loss of the global parameters after each round."""
    generator = torch.Generator().manual_seed(1)
    model = nn.Sequential(nn.Linear(8, 64), nn.Tanh(), nn.Linear(64, 1))
    for value in model.parameters():  # alike at all members, whatever other threads draw meanwhile
        nn.init.normal_(value, std=0.3, generator=generator)
    inner = torch.optim.AdamW(model.parameters(), lr=2e-3)
    diloco = cd.DiLoCo(None, model, inner, outer=outer, sync_every=STEPS, exchange=member)
    chance, losses = torch.Generator().manual_seed(100 + member.rank), list[float]()
    for step in range(ROUNDS * STEPS):
        inputs, targets = drawn(chance, BATCH)
        (model(inputs) - targets).square().mean().backward()
        inner.step()
        inner.zero_grad()
        diloco.step(tokens=BATCH)
        if (step + 1) % STEPS == 0:  # the round is over: the model holds the global parameters
            with torch.no_grad():
                losses.append((model(HELD_OUT[0]) - HELD_OUT[1]).square().mean().item())
    return losses


def compare() -> dict[str, list[float]]:
    """The losses of each outer optimizer, as the first member saw them; all see the same."""
    found: dict[str, list[float]] = {}
    for name, outer in (("Nesterov .7 / .9", cd.Nesterov), ("plain averaging", cd.Average)):
        group = cd.InProcess.group(SITES)
        with ThreadPoolExecutor(SITES) as threads:
            curves = list(threads.map(train, group, [outer] * SITES))
        assert all(curve == curves[0] for curve in curves), "members hold the same bytes after each round"
        found[name] = curves[0]
    return found


# %% Both, beside each other.
def draw(found: dict[str, list[float]], place: Path) -> None:
    """Write the picture."""
    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.subplots()
    for name, losses in found.items():
        axes.plot(range(1, ROUNDS + 1), losses, label=f"{name}: {losses[-1]:.3f} at the end")
    axes.set(xlabel=f"round of {STEPS} inner steps", ylabel="held-out squared error", yscale="log")
    axes.legend()
    figure.savefig(place)


if __name__ == "__main__":
    torch.set_num_threads(1)
    result = compare()
    for name, losses in result.items():
        print(f"{name:<18} {losses[0]:.3f} after a round, {losses[-1]:.3f} after {ROUNDS}")
    draw(result, Path("outer_optimizers.png"))
