"""Verb: mid-training and supervised fine-tuning: a trained model goes on with a mixture of examples.

The loss counts the assistant's tokens, and all of a document's. Reads the newest model of `--from`; writes
`ROOT/mid` or `ROOT/sft`, each a root that `chat`, `eval` and a further `sft` read.
"""

import argparse
import math
import sys
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import torch

from nanochat import checkpoint
from nanochat.arguments import accumulation, add_training, check_training, forward_of, means_of, option
from nanochat.mixture import Mixture, MixtureStream, batch_of, count_silent, read_mixture, windows_of
from nanochat.model import build_model, plain
from nanochat.ranks import Ranks, together
from nanochat.recipes import OPTIM_CONFIGS, build_optimizer
from nanochat.saved import Saved, load_newest, weights_hash
from nanochat.schedule import Schedule
from nanochat.settings import require
from nanochat.training import Job, Keeping, Training, Watch
from nanochat.verb import Parser, run, say
from nanochat.watches import watch_bits_per_byte, watch_samples


class Stage(NamedTuple):
    """What mid-training and fine-tuning differ in."""

    lr_factor: float
    """Of the recipe's learning rates."""
    warmdown_share: float
    """Share of the run over which they fall to 0."""


STAGES = {"mid": Stage(lr_factor=1.0, warmdown_share=0.2), "sft": Stage(lr_factor=0.02, warmdown_share=1.0)}
MOMENTUM = 0.95


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read and check the arguments."""
    parser = Parser("Go on training a model with a mixture of conversations, questions and documents.")
    parser.add_argument("--mixture", type=Path, required=True, help="YAML file; see nanochat/mixture.py")
    parser.add_argument(
        "--stage", choices=sorted(STAGES), default="sft", help="rates and place of the output"
    )
    parser.add_argument(
        "--from", dest="source", type=Path, default=None, help="a run or root; by default ROOT/mid, then ROOT"
    )
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--num-iterations", type=int, help="steps, in all")
    length.add_argument("--epochs", type=int, help="whole passes over the mixture")
    parser.add_argument("--lr-factor", type=float, default=None, help="of the recipe's rates; by the stage")
    parser.add_argument("--seed", type=int, default=1, help="of the examples' order")
    add_training(parser)
    args = parser.parse_args(argv)
    for name in ("num_iterations", "epochs", "lr_factor"):
        value = getattr(args, name)
        require(value is None or 0 < value < math.inf, option(name), value, "above 0, and finite")
    check_training(args)
    return args


def build(args: argparse.Namespace, ranks: Ranks) -> Training:
    """The run that the arguments describe, at its beginning."""
    saved = load_newest(_source(args))
    model = build_model(saved.model.config, means=means_of(args))
    model.load_state_dict(saved.model.state_dict())
    model = model.train().to(ranks.device)
    mixture = read_mixture(args.mixture, saved.tokenizer)
    length = model.config.sequence_length
    silent = count_silent(mixture.train, length)
    counting = f"the number of examples of {args.mixture} that count a target in a window of {length} tokens"
    must = "1 or more: have the assistant answer, within a window"
    require(silent < len(mixture.train), counting, 0, must)
    accumulate = accumulation(args, length, ranks.count)
    windows = accumulate * args.device_batch_size * ranks.count
    stage, directory = STAGES[args.stage], args.root / args.stage
    stream = MixtureStream(
        mixture.train,
        bos_id=saved.tokenizer.bos_id,
        batch_size=args.device_batch_size,
        sequence_length=length,
        seed=args.seed,
    )
    steps = args.num_iterations or math.ceil(stream.windows(args.epochs) / windows)
    optim_config = OPTIM_CONFIGS[model.config.variant](batch_tokens=windows * length, weight_decay=0.0)
    optimizer = build_optimizer(model, optim_config, sharded=ranks.count > 1, fused=args.fused)
    lr_factor = stage.lr_factor if args.lr_factor is None else args.lr_factor
    for group in optimizer.param_groups:
        group["initial_lr"] *= lr_factor
    schedule = Schedule(warmdown_share=stage.warmdown_share, momentum_start=MOMENTUM, momentum_end=MOMENTUM)
    job = Job(
        model=model,
        forward=forward_of(model, args),
        optimizer=optimizer,
        schedule=schedule,
        batches=stream.batches,
        steps=steps,
        accumulate=accumulate,
        tokens_per_step=windows * length,
        identity={
            "model": plain(model.config),
            "tokenizer": saved.tokenizer.hash,
            "data": mixture.hash,
            "from": saved.path.name,
            "from_weights": weights_hash(saved.model),
            "stage": args.stage,
            "batch_tokens": windows * length,
            "num_iterations": steps,
            "seed": args.seed,
            "lr_factor": lr_factor,
            "optim": asdict(optim_config),
            "schedule": asdict(schedule),
        },
    )
    if ranks.leads:
        say(f"{args.stage} from {saved.path}: {len(mixture.train)} examples, {steps} steps, into {directory}")
        if silent:
            say(f"{silent} of {len(mixture.train)} examples count no target in a window of {length} tokens")
    keeping = Keeping(
        directory=directory, tokenizer=saved.tokenizer, save_every=args.save_every, log_every=args.log_every
    )
    return Training(job, keeping, ranks, _watches(args, job, saved, mixture, ranks))


def _source(args: argparse.Namespace) -> Path:
    if args.source is not None:
        return args.source
    middle = args.root / "mid"
    return middle if args.stage == "sft" and checkpoint.newest(middle) is not None else args.root


def _watches(args: argparse.Namespace, job: Job, saved: Saved, mixture: Mixture, ranks: Ranks) -> list[Watch]:
    watches: list[Watch] = []
    if mixture.val:
        length, size = job.model.config.sequence_length, args.device_batch_size
        windows = list(islice(windows_of(mixture.val, length), args.eval_sequences))
        batches = [
            batch_of(windows[i : i + size], length, saved.tokenizer.bos_id).to(ranks.device)
            for i in range(0, len(windows), size)
        ]
        token_bytes = saved.tokenizer.token_bytes().to(ranks.device)
        watches.append(watch_bits_per_byte(job.forward, batches, token_bytes, ranks, every=args.eval_every))
    if args.sample_every:
        watches.append(watch_samples(job.model, saved.tokenizer, ranks, every=args.sample_every))
    return watches


def main(argv: list[str] | None = None) -> None:
    """Parse, then train."""
    args = parse(argv)
    if not args.resume:
        checkpoint.check_none(args.root / args.stage)
    with together(torch.device(args.device)) as ranks:
        training = build(args, ranks)
        if args.resume:
            training.resume()
        training.run()


if __name__ == "__main__":
    sys.exit(run(main))
