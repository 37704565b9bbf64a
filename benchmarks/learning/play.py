"""One run: a small nanochat learned synchronously, or by sites that exchange as the library does it.

All runs see the same number of tokens in the same number of steps with the same global batch, which the sites
of a moment share equally. Sites are threads of one process; the arithmetic of their exchange is the library's
own.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

import curtail_dist as cd
from curtail_dist.outer.rules import TABLES
from learning.corpus import VOCABULARY, Corpus
from nanochat.model import GPT, GPTConfig, build_model
from nanochat.recipes import OptimConfig, build_optimizer
from nanochat.schedule import Schedule, apply

BATCH = 12
"""Windows of a step, over all sites: divided by 1, 2, 3 or 4 of them."""
HELD_OUT = 512
"""Windows of an evaluation."""


OUTERS: Mapping[str, Callable[..., torch.optim.Optimizer]] = {
    "average": cd.Average,
    "nesterov": cd.Nesterov,
    "gentle": partial(cd.Nesterov, lr=0.9, momentum=0.5),
}
"""Outer optimizers by name; `nesterov` has the rate 0.7 and the momentum 0.9 of the DiLoCo paper."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What one run does."""

    phases: tuple[int, ...] = ()
    """Sites in each of the equal parts of the run; empty: synchronous training."""
    seed: int = 1
    rate: float = 1.0
    """Factor for the inner learning rates."""
    outer: str = "muon"
    """One of OUTERS, or Nesterov by a table of curtail_dist.outer.rules."""
    momentum: str = "keep"
    codec: str = "fp32"
    every: int = 20
    """H."""
    fragments: int = 1
    delay: int = 0
    alpha: float = 0.0
    steps: int = 480
    warmup: int = 0
    """Inner steps over which the learning rate of a site that joins later rises."""


@dataclass
class Site:
    """One site's own."""

    model: GPT
    inner: torch.optim.Optimizer
    outer: cd.DiLoCo


def play(plan: Plan, corpus: Corpus) -> dict[str, float]:
    """Learn; return the held-out loss (nats a token) and the time it took."""
    began = time.monotonic()
    order = torch.randperm(
        len(corpus.train) // corpus.length, generator=torch.Generator().manual_seed(plan.seed)
    )
    model = _model(plan, corpus)
    if plan.phases:
        model = _by_sites(plan, corpus, order)
    else:
        inner = _inner(model, corpus)
        for step in range(plan.steps):
            windows = corpus.windows(corpus.train, order[step * BATCH : (step + 1) * BATCH])
            _step(model, inner, windows, progress=step / plan.steps, rate=plan.rate)
    return {"held_out": evaluate(model, corpus), "seconds": time.monotonic() - began}


def _by_sites(plan: Plan, corpus: Corpus, order: torch.Tensor) -> GPT:
    sites: list[Site] = []
    steps = plan.steps // len(plan.phases)
    for number, size in enumerate(plan.phases):
        state = sites[0].outer.state if sites else None
        sites = sites[:size]
        while len(sites) < size:
            sites.append(_site(plan, corpus))
            if state is not None:
                sites[-1].outer.adopt(state)
                sites[-1].outer.begin_warmup(plan.warmup)
        members = cd.InProcess.group(size, timeout=300)
        for site, member in zip(sites, members, strict=True):
            site.outer.regroup(member)
        train = _part(plan, corpus, order, sites, first=number * steps, steps=steps)
        with ThreadPoolExecutor(size) as pool:
            list(pool.map(train, range(size)))
    for site in sites:
        site.outer.close()
    return sites[0].model


def _part(
    plan: Plan, corpus: Corpus, order: torch.Tensor, sites: Sequence[Site], *, first: int, steps: int
) -> Callable[[int], None]:
    """Return what one site does in one part of the run."""

    def train(rank: int) -> None:
        site, share = sites[rank], BATCH // len(sites)
        for step in range(first, first + steps):
            begin = step * BATCH + rank * share
            windows = corpus.windows(corpus.train, order[begin : begin + share])
            rate = plan.rate * site.outer.warmup
            _step(site.model, site.inner, windows, progress=step / plan.steps, rate=rate)
            site.outer.step(tokens=share * corpus.length)

    return train


def _site(plan: Plan, corpus: Corpus) -> Site:
    model = _model(plan, corpus)
    inner = _inner(model, corpus)
    table = TABLES.get(plan.outer)
    outer = cd.DiLoCo(
        None,
        model,
        inner,
        outer=OUTERS.get(plan.outer, cd.Nesterov),
        sync_every=plan.every,
        fragments=plan.fragments,
        sync_delay=plan.delay,
        mix_alpha=plan.alpha,
        codec=plan.codec,
        rules=cd.OuterRules(by_sites=table, momentum=plan.momentum),
    )
    return Site(model, inner, outer)


def _model(plan: Plan, corpus: Corpus) -> GPT:
    shape = GPTConfig(
        n_layer=4, n_embd=112, n_head=2, n_kv_head=2, vocab_size=VOCABULARY, sequence_length=corpus.length
    )
    return build_model(shape, seed=plan.seed)


def _inner(model: GPT, corpus: Corpus) -> torch.optim.Optimizer:
    return build_optimizer(model, OptimConfig(batch_tokens=BATCH * corpus.length))


def _step(
    model: GPT,
    inner: Any,
    windows: tuple[torch.Tensor, torch.Tensor],
    *,
    progress: float,
    rate: float,
) -> None:
    inputs, targets = windows
    model(inputs, targets).backward()
    apply(inner, Schedule(), progress, scale=rate)
    inner.step()
    inner.zero_grad(set_to_none=True)


@torch.no_grad()
def evaluate(model: GPT, corpus: Corpus) -> float:
    """Return the mean loss over windows of the held-out split, spread over it."""
    stride = len(corpus.held_out) // corpus.length // HELD_OUT
    losses = [
        float(model(*corpus.windows(corpus.held_out, torch.arange(at, at + 32) * stride)))
        for at in range(0, HELD_OUT, 32)
    ]
    return sum(losses) / len(losses)


def described(plan: Plan) -> Mapping[str, Any]:
    """Return a plan as JSON values."""
    return {**vars(plan), "phases": list(plan.phases)}
