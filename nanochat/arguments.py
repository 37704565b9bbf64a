"""Arguments that several verbs have: of training, the device, the file of figures."""

import argparse
from pathlib import Path

import torch
from curtail_kernels.dispatch import IMPLEMENTATIONS, Means

from nanochat.settings import require


def add_device(parser: argparse.ArgumentParser) -> None:
    """`--device`."""
    parser.add_argument(
        "--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu or cuda"
    )


def check_device(args: argparse.Namespace) -> None:
    """Raise ValueError for a device that is not there."""
    require(args.device in ("cpu", "cuda"), "--device", args.device, "cpu or cuda")
    lacking = args.device == "cuda" and not torch.cuda.is_available()
    require(not lacking, "--device", args.device, "cpu: this machine has no CUDA device")


def add_out(parser: argparse.ArgumentParser) -> None:
    """`--out`."""
    parser.add_argument("--out", type=Path, default=None, help="write the figures to this JSON file too")


def check_out(args: argparse.Namespace) -> None:
    """Make the directory of `--out`, so that it is known now, not after hours, whether there can be one.

    Raises:
        ValueError: It is a directory itself.
        OSError: There can be none.
    """
    if args.out is not None:
        require(not args.out.is_dir(), "--out", str(args.out), "a file: it is a directory")
        args.out.parent.mkdir(parents=True, exist_ok=True)


def add_training(parser: argparse.ArgumentParser) -> None:
    """How a step is made up, how often one looks, and where it runs."""
    parser.add_argument("--device-batch-size", type=int, default=32, help="windows of a forward pass")
    parser.add_argument(
        "--total-batch-size",
        type=int,
        default=None,
        help="tokens of a step; by default one pass of each rank",
    )
    parser.add_argument("--eval-sequences", type=int, default=256, help="windows of an evaluation")
    for name, default, what in (
        ("eval", 250, "evaluations of the held-out split"),
        ("save", 0, "checkpoints"),
        ("log", 10, "lines of the log"),
    ):
        parser.add_argument(
            f"--{name}-every", type=int, default=default, help=f"steps between {what}; 0: at the end only"
        )
    parser.add_argument(
        "--sample-every", type=int, default=0, help="steps between samples of what it writes; 0: none"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint")
    parser.add_argument(
        "--compile",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="compile the model; by default on CUDA only",
    )
    parser.add_argument(
        "--attention",
        choices=IMPLEMENTATIONS,
        help="what computes attention; by default what suits the device",
    )
    parser.add_argument(
        "--fused", action="store_true", help="relu squared, the loss and Muon's products by the fused kernels"
    )
    add_device(parser)


def check_training(args: argparse.Namespace) -> None:
    """Raise ValueError for the first of `add_training`'s that is out of range."""
    for name in ("device_batch_size", "eval_sequences"):
        require(getattr(args, name) >= 1, option(name), getattr(args, name), "at least 1")
    for name in ("eval_every", "save_every", "sample_every", "log_every"):
        require(getattr(args, name) >= 0, option(name), getattr(args, name), "at least 0")
    check_device(args)


def accumulation(args: argparse.Namespace, sequence_length: int, ranks: int) -> int:
    """Passes of a step at each rank. Raises ValueError if the batch is not whole passes of all ranks."""
    capacity = args.device_batch_size * sequence_length * ranks
    tokens = capacity if args.total_batch_size is None else args.total_batch_size
    require(tokens > 0 and tokens % capacity == 0, "--total-batch-size", tokens, f"a multiple of {capacity}")
    return tokens // capacity


def means_of(args: argparse.Namespace) -> Means:
    """What is to compute the model."""
    return Means(attention=args.attention, fused=args.fused)


def forward_of(model: torch.nn.Module, args: argparse.Namespace) -> torch.nn.Module:
    """The model as a step calls it: compiled at its first use, or as it is."""
    wanted = args.device == "cuda" if args.compile is None else args.compile
    # The shapes of a run never change, but for a last evaluation batch.
    return torch.compile(model, dynamic=False) if wanted else model  # pyright: ignore[reportReturnType]


def option(name: str) -> str:
    """An argument as it is typed."""
    return f"--{name.replace('_', '-')}"
