"""The rank program that trains nanochat at one site: `curtail_launch.train --config RUN.yaml --site NAME`.

torchrun starts it; `--check` only checks the run file's `model` and `train` sections.
"""

import argparse
import hashlib
import json
import logging
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
import torch.distributed as dist

import curtail_dist as cd
from curtail_dist.data.manifest import read_manifest
from curtail_dist.runtime.refusing import USERS_MISTAKE, refuse
from curtail_launch.feed import Feed
from curtail_launch.looks import Looks
from curtail_launch.settings import Recipe, read_recipe
from curtail_launch.trainee import build_trainee, compiles
from nanochat import shards
from nanochat.loop import StepReport, train, warm_up
from nanochat.ranks import Ranks, join_ranks, ranks_of, several_ranks
from nanochat.schedule import Pace
from nanochat.tok_train import tokenizer_path
from nanochat.tokenizer import Tokenizer


def run(config: cd.RunConfig, name: str) -> None:
    """Train at site `name` until the run is complete or the site drains."""
    recipe = read_recipe(config)
    if recipe.tokenizer.is_file():
        _fitting_tokenizer(recipe)  # before anything outside is contacted
    torch.set_num_threads(recipe.options.threads)
    device = torch.device(_device(recipe.options.device))
    several = several_ranks()
    if several:
        device = join_ranks(device)
    described = json.dumps(asdict(recipe.model), sort_keys=True)
    program = {"model_config": hashlib.sha256(described.encode()).hexdigest()}
    with cd.Site(config, name=name, program=program) as site:
        tokenizer = _tokenizer(site, recipe)
        site.obtain_held_out()
        _keep(tokenizer, tokenizer_path(config.run.directory))
        _train(site, config, recipe, tokenizer, ranks_of(site.group, device))
    if several:
        dist.destroy_process_group()  # else the process may abort as it ends, with all its work done


def _tokenizer(site: cd.Site, recipe: Recipe) -> Tokenizer:
    """The tokenizer, from another site if it is not here, and part of the run's identity."""
    site.obtain(recipe.tokenizer, recipe.tokenizer_sha256)
    tokenizer = _fitting_tokenizer(recipe)
    site.identify(tokenizer=tokenizer.hash)
    return tokenizer


def _fitting_tokenizer(recipe: Recipe) -> Tokenizer:
    tokenizer = Tokenizer.load(recipe.tokenizer)
    if tokenizer.vocab_size != recipe.model.vocab_size:
        raise cd.ConfigError(
            f"model.vocab_size is {recipe.model.vocab_size}; the tokenizer has {tokenizer.vocab_size}"
        )
    return tokenizer


def _train(site: cd.Site, config: cd.RunConfig, recipe: Recipe, tokenizer: Tokenizer, ranks: Ranks) -> None:
    feed = Feed(
        tokenizer=tokenizer,
        batch_size=recipe.options.device_batch_size,
        sequence_length=recipe.model.sequence_length,
        passes=recipe.passes(ranks.count),
        device=ranks.device,
    )
    trainee = build_trainee(recipe, ranks, seed=config.run.seed)
    looks = Looks(config, recipe, trainee, tokenizer, ranks)
    site.joining("load")
    if compiles(recipe, ranks.device):
        # In the run it would be a step of a minute, at whose end the other sites wait.
        warm_up(trainee.trained, feed.empty())
        site.joining("compile")
    outer = cd.DiLoCo(site, trainee.model, trainee.optimizer, fused_codec=recipe.options.fused)
    looks.begin(site, outer)

    def after_step(report: StepReport) -> None:
        if report.tokens:
            site.note_loss(report.loss)
        began = time.perf_counter()
        outer.step(tokens=report.tokens)
        looks.after_step(site, outer, since=began)

    train(
        trainee.trained,
        trainee.optimizer,
        site.batches(feed.pack, empty=feed.empty),
        pace=Pace(
            schedule=recipe.schedule,
            progress=lambda: site.tokens / recipe.options.total_tokens,
            lr_scale=lambda: outer.warmup,
        ),
        after_step=after_step,
    )
    outer.close()


def _keep(tokenizer: Tokenizer, path: Path) -> None:
    """Put the tokenizer beside the snapshots: then the run directory is all that one needs of a model.

    One that an earlier run has left there would read the model's tokens as other texts.
    """
    if int(os.environ.get("LOCAL_RANK", "0")) == 0 and not _is_there(tokenizer, path):
        tokenizer.save(path)


def _is_there(tokenizer: Tokenizer, path: Path) -> bool:
    try:
        return Tokenizer.load(path).hash == tokenizer.hash
    except ValueError:
        return False


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
    config: cd.RunConfig | None = None
    try:
        config = cd.RunConfig.from_yaml(args.config)
        if args.check:
            read_recipe(config)
            read_manifest(config.data.manifest)
        elif args.site is None:
            raise cd.ConfigError("--site is missing; it must name a site of the run file")
        else:
            run(config, args.site)
    except (cd.UserError, shards.DataProblem) as error:
        if config is not None and args.site is not None:
            return refuse(config, args.site, error)
        print(f"error: {error}", file=sys.stderr)
        return USERS_MISTAKE
    except cd.CurtailError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
