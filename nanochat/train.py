"""Verb: the vanilla loop, without sites; the baseline that everything else is compared with.

`python -m nanochat.train` is one process; `torchrun --nproc-per-node N -m nanochat.train` trains at N ranks.
"""

import argparse
import math
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from nanochat import checkpoint, shards
from nanochat.arguments import accumulation, add_training, check_training, forward_of, means_of, option
from nanochat.core import read_bundle
from nanochat.dataset import manifest_path
from nanochat.evaluate import validation_batches
from nanochat.model import GPT, GPTConfig, build_model, plain
from nanochat.model.config import VARIANTS
from nanochat.ranks import Ranks, together
from nanochat.recipes import OPTIM_CONFIGS, SCHEDULES, build_optimizer
from nanochat.settings import require
from nanochat.stream import TokenStream
from nanochat.tok_train import tokenizer_path
from nanochat.tokenizer import Tokenizer
from nanochat.training import Job, Keeping, Training, Watch
from nanochat.verb import Parser, run
from nanochat.watches import watch_bits_per_byte, watch_core, watch_samples


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read and check the arguments."""
    parser = Parser("Train a model; under torchrun at several ranks.")
    parser.add_argument("--depth", type=int, default=20, help="layers")
    parser.add_argument("--variant", choices=sorted(VARIANTS), default="2026-01", help="of the recipe")
    parser.add_argument("--width", type=int, default=None, help="n_embd; by default 64 x depth")
    parser.add_argument("--heads", type=int, default=None, help="n_head; by default width / 128")
    parser.add_argument("--kv-heads", type=int, default=None, help="n_kv_head; by default as many as heads")
    parser.add_argument(
        "--window-pattern", default=None, help="windows of the layers, such as SSSL; by default the variant's"
    )
    parser.add_argument("--sequence-length", type=int, default=2_048, help="tokens of a window")
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--num-iterations", type=int, help="steps, in all")
    length.add_argument("--target-flops", type=float, help="train for so many operations")
    length.add_argument(
        "--target-param-data-ratio", type=float, help="tokens for each weight that a token is multiplied by"
    )
    parser.add_argument("--matrix-lr", type=float, default=None, help="Muon's rate, before scaling")
    parser.add_argument("--seed", type=int, default=1, help="of the initial weights")
    parser.add_argument(
        "--core", type=Path, default=None, help="directory of a CORE bundle, for --core-every"
    )
    parser.add_argument(
        "--core-every", type=int, default=0, help="steps between evaluations of CORE; 0: none"
    )
    parser.add_argument("--core-max-per-task", type=int, default=500, help="items of a task of CORE, at most")
    add_training(parser)
    args = parser.parse_args(argv)
    for name in ("depth", "num_iterations", "sequence_length", "core_max_per_task"):
        value = getattr(args, name)
        require(value is None or value >= 1, option(name), value, "at least 1")
    for name in ("target_flops", "target_param_data_ratio"):
        value = getattr(args, name)
        require(value is None or 0 < value < math.inf, option(name), value, "above 0, and finite")
    require(0 <= args.seed < 2**63, "--seed", args.seed, "in [0, 2^63)")
    require(args.core_every >= 0, "--core-every", args.core_every, "at least 0")
    needed = args.core_every > 0 and args.core is None
    require(not needed, "--core", args.core, "the directory of a bundle, for --core-every to evaluate")
    idle = args.core is not None and not args.core_every
    require(not idle, "--core-every", 0, "at least 1, for --core to be evaluated, or leave --core out")
    check_training(args)
    return args


def build(args: argparse.Namespace, ranks: Ranks) -> Training:
    """The run that the arguments describe, at its beginning."""
    tokenizer = Tokenizer.load(tokenizer_path(args.root))
    manifest = shards.load(manifest_path(args.root))
    config = _model_config(args, tokenizer)
    accumulate = accumulation(args, config.sequence_length, ranks.count)
    batch_tokens = accumulate * args.device_batch_size * config.sequence_length * ranks.count
    model = build_model(config, seed=args.seed, means=means_of(args)).to(ranks.device)
    steps = _steps(args, model, batch_tokens)
    rates = {} if args.matrix_lr is None else {"matrix_lr": args.matrix_lr}
    optim_config = OPTIM_CONFIGS[config.variant](batch_tokens=batch_tokens, **rates)
    schedule = SCHEDULES[config.variant].for_steps(steps)
    stream = TokenStream(
        manifest, tokenizer, batch_size=args.device_batch_size, sequence_length=config.sequence_length
    )
    job = Job(
        model=model,
        forward=forward_of(model, args),
        optimizer=build_optimizer(model, optim_config, sharded=ranks.count > 1, fused=args.fused),
        schedule=schedule,
        batches=stream.batches,
        steps=steps,
        accumulate=accumulate,
        tokens_per_step=batch_tokens,
        identity={
            "model": plain(config),
            "tokenizer": tokenizer.hash,
            "data": manifest.hash,
            "batch_tokens": batch_tokens,
            "num_iterations": steps,
            "seed": args.seed,
            "optim": asdict(optim_config),
            "schedule": asdict(schedule),
        },
    )
    keeping = Keeping(
        directory=args.root, tokenizer=None, save_every=args.save_every, log_every=args.log_every
    )
    return Training(job, keeping, ranks, _watches(args, job, tokenizer, manifest, ranks))


def _watches(
    args: argparse.Namespace, job: Job, tokenizer: Tokenizer, manifest: shards.Manifest, ranks: Ranks
) -> list[Watch]:
    batches = validation_batches(
        shards.read_texts(manifest, "val"),
        tokenizer,
        sequences=args.eval_sequences,
        batch_size=args.device_batch_size,
        sequence_length=job.model.config.sequence_length,
        device=ranks.device,
    )
    token_bytes = tokenizer.token_bytes().to(ranks.device)
    watches = [watch_bits_per_byte(job.forward, batches, token_bytes, ranks, every=args.eval_every)]
    if args.sample_every:
        watches.append(watch_samples(job.model, tokenizer, ranks, every=args.sample_every))
    if args.core_every:
        tasks = read_bundle(args.core)
        most = args.core_max_per_task
        watches.append(
            watch_core(job.model, tokenizer, tasks, ranks, every=args.core_every, max_per_task=most)
        )
    return watches


def _model_config(args: argparse.Namespace, tokenizer: Tokenizer) -> GPTConfig:
    shape = {
        "depth": args.depth,
        "variant": args.variant,
        "n_embd": args.width,
        "n_head": args.heads,
        "n_kv_head": args.kv_heads,
        "window_pattern": args.window_pattern,
    }
    given: dict[str, Any] = {name: value for name, value in shape.items() if value is not None}
    return GPTConfig.from_mapping(
        {**given, "vocab_size": tokenizer.vocab_size, "sequence_length": args.sequence_length}
    )


def _steps(args: argparse.Namespace, model: GPT, batch_tokens: int) -> int:
    """Steps of the run, by whichever of its lengths was given."""
    if args.num_iterations is not None:
        return args.num_iterations
    if args.target_flops is not None:
        tokens = args.target_flops / model.flops_per_token()
    else:
        tokens = args.target_param_data_ratio * model.product_count()
    return max(1, round(tokens / batch_tokens))


def main(argv: list[str] | None = None) -> None:
    """Parse, then train."""
    args = parse(argv)
    if not args.resume:
        checkpoint.check_none(args.root)
    with together(torch.device(args.device)) as ranks:
        training = build(args, ranks)
        if args.resume:
            training.resume()
        training.run()


if __name__ == "__main__":
    sys.exit(run(main))
