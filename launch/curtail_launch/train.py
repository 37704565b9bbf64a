"""The rank program that trains nanochat at one site: `curtail_launch.train --config RUN.yaml --site NAME`.

torchrun starts it; `--check` only checks the run file's `model` and `train` sections.
"""

import argparse
import hashlib
import json
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

import curtail_dist as cd
from curtail_dist.data.loader import Row
from curtail_dist.data.manifest import read_manifest
from curtail_dist.telemetry.events import Evaluated
from curtail_launch.settings import Recipe, read_recipe
from nanochat import shards
from nanochat.evaluate import bits_per_byte, validation_batches
from nanochat.loop import StepReport, train
from nanochat.model import GPT, build_model
from nanochat.packing import Batch, empty_batch, pack
from nanochat.ranks import join_ranks, several_ranks
from nanochat.recipes import build_optimizer
from nanochat.schedule import Pace
from nanochat.tok_train import tokenizer_path
from nanochat.tokenizer import Tokenizer


class Evaluator:
    """Bits per byte of the global model on the held-out split, each at a fresh commit."""

    def __init__(
        self, config: cd.RunConfig, recipe: Recipe, tokenizer: Tokenizer, device: torch.device
    ) -> None:
        """Read the held-out sequences. Raises DataError."""
        manifest = shards.load(config.data.manifest)
        self._batches = validation_batches(
            shards.read_texts(manifest, "val"),
            tokenizer,
            sequences=recipe.options.eval_sequences,
            batch_size=recipe.options.device_batch_size,
            sequence_length=recipe.model.sequence_length,
            device=device,
        )
        self._token_bytes = tokenizer.token_bytes().to(device)
        self._every = recipe.options.eval_every
        self._seen = -1

    def look(self, site: cd.Site, model: GPT) -> None:
        """Evaluate if the model has just become a version whose turn it is and this site leads."""
        head = site.head
        if head is None or head.version == self._seen:
            return
        self._seen = head.version
        if site.leads and (head.version % self._every == 0 or head.complete):
            model.eval()
            bpb = bits_per_byte(model, self._batches, self._token_bytes)
            model.train()
            site.record(Evaluated(version=head.version, val_bpb=bpb))


def run(config: cd.RunConfig, name: str) -> None:
    """Train at site `name` until the run is complete or the site drains."""
    recipe = read_recipe(config)
    torch.set_num_threads(recipe.options.threads)
    device = torch.device(_device(recipe.options.device))
    several = several_ranks()
    if several:
        device = join_ranks(device)
    tokenizer = Tokenizer.load(recipe.tokenizer)
    if tokenizer.vocab_size != recipe.model.vocab_size:
        raise cd.ConfigError(
            f"model.vocab_size is {recipe.model.vocab_size}; the tokenizer has {tokenizer.vocab_size}"
        )
    described = json.dumps(asdict(recipe.model), sort_keys=True)
    program = {"tokenizer": tokenizer.hash, "model_config": hashlib.sha256(described.encode()).hexdigest()}
    with cd.Site(config, name=name, program=program) as site:
        _keep(tokenizer, tokenizer_path(config.run.directory))
        model = build_model(recipe.model, seed=config.run.seed).to(device)
        optimizer = build_optimizer(model, recipe.optimizer)
        evaluator = Evaluator(config, recipe, tokenizer, device)
        outer = cd.DiLoCo(site, model, optimizer)
        evaluator.look(site, model)
        trained = DistributedDataParallel(model, broadcast_buffers=False) if several else model

        def after_step(report: StepReport) -> None:
            if report.tokens:
                site.note_loss(report.loss)
            outer.step(tokens=report.tokens)
            evaluator.look(site, model)

        shape = (recipe.options.device_batch_size, recipe.model.sequence_length)
        train(
            trained,
            optimizer,
            site.batches(
                partial(_pack, shape=shape, tokenizer=tokenizer, device=device),
                empty=lambda: empty_batch(tokenizer, *shape, device),
            ),
            pace=Pace(
                schedule=recipe.schedule,
                progress=lambda: site.tokens / recipe.options.total_tokens,
                lr_scale=lambda: outer.warmup,
            ),
            after_step=after_step,
        )
        outer.close()
    if several:
        dist.destroy_process_group()  # else the process may abort as it ends, with all its work done


def _keep(tokenizer: Tokenizer, path: Path) -> None:
    """Put the tokenizer beside the snapshots: then the run directory is all that one needs of a model."""
    if not path.exists() and int(os.environ.get("LOCAL_RANK", "0")) == 0:
        tokenizer.save(path)


def _pack(
    rows: Iterator[Row], *, shape: tuple[int, int], tokenizer: Tokenizer, device: torch.device
) -> Iterator[Batch]:
    return pack(rows, tokenizer, *shape, device)


def _device(wanted: str) -> str:
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted == "cuda" and not torch.cuda.is_available():
        raise cd.ConfigError("train.device is cuda; this machine has no CUDA device: set it to cpu or auto")
    return wanted


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, check, train; exit codes as for `curtail`."""
    parser = argparse.ArgumentParser(prog="curtail_launch.train", description="Train nanochat at one site.")
    parser.add_argument("--config", required=True, help="run file")
    parser.add_argument("--site", help="this site's name in the run file")
    parser.add_argument("--check", action="store_true", help="only check the run file")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        config = cd.RunConfig.from_yaml(args.config)
        if args.check:
            read_recipe(config)
            read_manifest(config.data.manifest)
        elif args.site is None:
            raise cd.ConfigError("--site is missing; it must name a site of the run file")
        else:
            run(config, args.site)
    except cd.UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except shards.DataProblem as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except cd.CurtailError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
