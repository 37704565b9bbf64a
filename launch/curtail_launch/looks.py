"""What the rank program records of each new version of the global model: speed, bits per byte, samples."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

import curtail_dist as cd
from curtail_dist.membership.records import Commit
from curtail_dist.telemetry.events import Evaluated, Sampled, Throughput
from curtail_launch.settings import Recipe
from curtail_launch.trainee import Trainee
from nanochat import shards
from nanochat.evaluate import bits_per_byte, validation_batches
from nanochat.model import IGNORE_INDEX
from nanochat.packing import Batch
from nanochat.ranks import Ranks
from nanochat.speed import Speed, peak_flops
from nanochat.tokenizer import Tokenizer
from nanochat.watches import watch_samples


class Looks:
    """Looks at each fresh commit once. Speed is recorded by every site, the rest by the one that leads."""

    def __init__(
        self, config: cd.RunConfig, recipe: Recipe, trainee: Trainee, tokenizer: Tokenizer, ranks: Ranks
    ) -> None:
        """Read the held-out sequences. Raises DataError."""
        self._trainee = trainee
        self._options = recipe.options
        self._batches = held_out(config, recipe, tokenizer, ranks.device)
        self._token_bytes = tokenizer.token_bytes().to(ranks.device)
        alone = Ranks(0, 1, ranks.device)
        self._samples = watch_samples(trainee.model, tokenizer, alone, every=recipe.options.sample_every)
        peak = peak_flops(ranks.device)
        whole = None if peak is None else peak * ranks.count
        self._speed = Speed(trainee.model.flops_per_token(), whole, time.perf_counter)
        self._seen = ""

    def begin(self, site: cd.Site, outer: cd.DiLoCo) -> None:
        """Look at the version that the site comes in with; speed counts from here."""
        if site.head is not None:
            self._seen = site.head.hash
            self._look(site, outer, site.head)
        self._speed.look()

    def after_step(self, site: cd.Site, outer: cd.DiLoCo, *, since: float) -> None:
        """Look if `outer.step`, called at `since` (time.perf_counter), has led to a new version."""
        head = site.head
        if head is None or head.hash == self._seen:
            return
        self._seen = head.hash
        self._speed.leave_out(time.perf_counter() - since)
        tokens = sum(work.tokens for work in head.work if work.site == site.name)
        if tokens:
            self._speed.add(tokens)
            rate, share = self._speed.look()
            site.record(Throughput(version=head.version, tokens_per_s=rate, mfu=share))
        began = time.perf_counter()
        self._look(site, outer, head)
        self._speed.leave_out(time.perf_counter() - began)

    def _look(self, site: cd.Site, outer: cd.DiLoCo, head: Commit) -> None:
        if not site.leads:
            return
        evaluates = head.complete or head.version % self._options.eval_every == 0
        every = self._options.sample_every
        samples = every and head.version and (head.complete or head.version % every == 0)
        if not (evaluates or samples):
            return
        with _holding(self._trainee.model, outer.anchor()):
            if evaluates:
                bpb = bits_per_byte(self._trainee.forward, self._batches, self._token_bytes)
                site.record(Evaluated(version=head.version, val_bpb=bpb))
            if samples:
                site.record(Sampled(version=head.version, texts=self._samples.look()["samples"]))


def held_out(config: cd.RunConfig, recipe: Recipe, tokenizer: Tokenizer, device: torch.device) -> list[Batch]:
    """The held-out sequences, in batches of the shape of a forward pass in training.

    An evaluation keeps no gradients, so that such a batch needs no more memory than training does. Raises
    DataError.
    """
    size = recipe.options.device_batch_size
    batches = validation_batches(
        shards.read_texts(shards.load(config.data.manifest), "val"),
        tokenizer,
        sequences=recipe.options.eval_sequences,
        batch_size=size,
        sequence_length=recipe.model.sequence_length,
        device=device,
    )
    return [_filled(batch, size) for batch in batches]


def _filled(batch: Batch, size: int) -> Batch:
    """The batch with `size` rows; those that are added have no targets."""
    lacking = size - batch.inputs.size(0)
    return replace(
        batch,
        inputs=torch.nn.functional.pad(batch.inputs, (0, 0, 0, lacking)),
        targets=torch.nn.functional.pad(batch.targets, (0, 0, 0, lacking), value=IGNORE_INDEX),
    )


@contextmanager
def _holding(model: torch.nn.Module, parameters: dict[str, Tensor]) -> Iterator[None]:
    """Let the model have these parameters in the block, and its own again after it.

    Where a part of the model is exchanged at a time, or an exchange lands while the site trains on, the local
    parameters are not the global ones. Its own are kept where its gradients were, which are dropped.
    """
    mine = {name: value.detach() for name, value in model.named_parameters() if name in parameters}
    kept = {name: value.clone() for name, value in mine.items()}
    for name, value in mine.items():
        value.copy_(parameters[name])
    try:
        yield
    finally:
        for name, value in mine.items():
            value.copy_(kept[name])
