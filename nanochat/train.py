"""Verb: the vanilla loop, one process, without sites; the baseline that everything else is compared with."""

import argparse
import sys
from collections.abc import Iterator
from typing import Any

import torch

from nanochat import checkpoint, shards
from nanochat.dataset import manifest_path
from nanochat.evaluate import bits_per_byte, validation_batches
from nanochat.loop import StepReport, train
from nanochat.model import GPT, GPTConfig, build_model, plain
from nanochat.model.config import VARIANTS
from nanochat.packing import Batch, Packer
from nanochat.recipes import OPTIM_CONFIGS, SCHEDULES, build_optimizer
from nanochat.schedule import Pace
from nanochat.settings import require
from nanochat.tok_train import tokenizer_path
from nanochat.tokenizer import Tokenizer
from nanochat.verb import Parser, run, say


class EndlessRows:
    """Batches over the training texts, again and again; `place` says where the stream stands after each."""

    def __init__(self, manifest: shards.Manifest, packer: Packer, *, row: int, device: torch.device) -> None:
        self._manifest = manifest
        self._packer = packer
        self._device = device
        self._row = row
        self._rows = sum(shard.rows for shard in manifest.of_split("train"))

    def place(self) -> dict[str, Any]:
        """What a new stream needs to go on as this one would."""
        return {"row": self._row, "pending": list(self._packer.pending)}

    def __iter__(self) -> Iterator[Batch]:
        yield from self._full()
        while True:
            first_row = self._row % self._rows
            for text in shards.read_texts(self._manifest, "train", first_row=first_row):
                self._packer.add(text)
                self._row += 1
                yield from self._full()

    def _full(self) -> Iterator[Batch]:
        while self._packer.full():
            yield self._packer.take(self._device)


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read and check the arguments."""
    parser = Parser("Train a model in one process.")
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
    parser.add_argument("--device-batch-size", type=int, default=32, help="windows of a forward pass")
    parser.add_argument(
        "--total-batch-size", type=int, default=None, help="tokens of a step; by default one pass"
    )
    parser.add_argument("--matrix-lr", type=float, default=None, help="Muon's rate, before scaling")
    parser.add_argument(
        "--eval-every", type=int, default=250, help="steps between evaluations; 0: at the end only"
    )
    parser.add_argument("--eval-sequences", type=int, default=256, help="windows of an evaluation")
    parser.add_argument(
        "--save-every", type=int, default=0, help="steps between checkpoints; 0: at the end only"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint")
    parser.add_argument("--seed", type=int, default=1, help="of the initial weights")
    parser.add_argument(
        "--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu or cuda"
    )
    args = parser.parse_args(argv)
    for name in ("depth", "num_iterations", "device_batch_size", "eval_sequences", "sequence_length"):
        value = getattr(args, name)
        require(value is None or value >= 1, f"--{name.replace('_', '-')}", value, "at least 1")
    for name in ("target_flops", "target_param_data_ratio"):
        value = getattr(args, name)
        require(value is None or value > 0, f"--{name.replace('_', '-')}", value, "above 0")
    for name in ("eval_every", "save_every"):
        require(getattr(args, name) >= 0, f"--{name.replace('_', '-')}", getattr(args, name), "at least 0")
    return args


class Training:
    """Everything a run of the verb holds: built once, advanced by `run`."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.device = torch.device(args.device)
        self.tokenizer = Tokenizer.load(tokenizer_path(args.root))
        self.manifest = shards.load(manifest_path(args.root))
        self.config = _model_config(args, self.tokenizer)
        self.capacity = args.device_batch_size * args.sequence_length
        batch_tokens = args.total_batch_size or self.capacity
        require(
            batch_tokens % self.capacity == 0,
            "--total-batch-size",
            batch_tokens,
            f"a multiple of {self.capacity}",
        )
        self.accumulate = batch_tokens // self.capacity
        matrix_lr = {} if args.matrix_lr is None else {"matrix_lr": args.matrix_lr}
        self.model = build_model(self.config, seed=args.seed).to(self.device)
        optim_config = OPTIM_CONFIGS[self.config.variant](batch_tokens=batch_tokens, **matrix_lr)
        self.optimizer = build_optimizer(self.model, optim_config)
        self.steps = _steps(args, self.model, batch_tokens)
        self.step = 0
        place = self._restore() if args.resume else {"row": 0, "pending": []}
        packer = Packer(
            self.tokenizer,
            batch_size=args.device_batch_size,
            sequence_length=args.sequence_length,
            pending=place["pending"],
        )
        self.rows = EndlessRows(self.manifest, packer, row=place["row"], device=self.device)
        self.validation = validation_batches(
            shards.read_texts(self.manifest, "val"),
            self.tokenizer,
            sequences=args.eval_sequences,
            batch_size=args.device_batch_size,
            sequence_length=args.sequence_length,
            device=self.device,
        )

    def identity(self) -> dict[str, Any]:
        """What a checkpoint must share with this run."""
        return {
            "model": plain(self.config),
            "tokenizer": self.tokenizer.hash,
            "data": self.manifest.hash,
            "batch_tokens": self.accumulate * self.capacity,
            "num_iterations": self.steps,
        }

    def _restore(self) -> dict[str, Any]:
        path = checkpoint.newest(self.args.root)
        if path is None:
            raise ValueError(
                f"{self.args.root} has no checkpoint to resume; it must have one: leave out --resume"
            )
        facts = checkpoint.facts_of(path)
        for key, value in self.identity().items():
            require(
                facts.get(key) == value, f"checkpoint {path}: {key}", facts.get(key), f"{value!r}, as asked"
            )
        checkpoint.restore(path, self.model, self.optimizer)
        self.step = facts["step"]
        return facts["place"]

    def run(self) -> None:
        """Train to the last step; evaluate and save on the way and at the end."""
        per_step = self.accumulate * self.capacity
        last = self.steps
        if self.step == 0:
            say(f"step 0 of {last}, val bpb {self.bits_per_byte():.4f}")
        train(
            self.model,
            self.optimizer,
            self._batches(last - self.step),
            pace=Pace(
                schedule=SCHEDULES[self.config.variant].for_steps(last), progress=lambda: self.step / last
            ),
            after_step=lambda report: self._after_step(report, per_step, last),
            accumulate=self.accumulate,
        )

    def _batches(self, steps: int) -> Iterator[Batch]:
        # The saved place is that of whole steps, so the stream must not run ahead of them.
        stream = iter(self.rows)
        for _ in range(steps * self.accumulate):
            yield next(stream)

    def _after_step(self, report: StepReport, per_step: int, last: int) -> None:
        self.step += 1
        ended = self.step == last
        if ended or _due(self.step, self.args.eval_every):
            bpb = self.bits_per_byte()
            line = f"step {self.step} of {last}, {self.step * per_step} tokens, loss {report.loss:.4f}"
            say(f"{line}, lr x {report.lr_factor:.3f}, val bpb {bpb:.4f}")
        if ended or _due(self.step, self.args.save_every):
            path = checkpoint.checkpoint_path(self.args.root, self.step)
            facts = {**self.identity(), "step": self.step, "place": self.rows.place()}
            checkpoint.save(path, self.model, self.optimizer, facts)

    def bits_per_byte(self) -> float:
        """Bits per byte on the validation windows."""
        return bits_per_byte(self.model, self.validation, self.tokenizer.token_bytes())


def _model_config(args: argparse.Namespace, tokenizer: Tokenizer) -> GPTConfig:
    shape = {
        "depth": args.depth,
        "variant": args.variant,
        "n_embd": args.width,
        "n_head": args.heads,
        "n_kv_head": args.kv_heads,
        "window_pattern": args.window_pattern,
    }
    given = {name: value for name, value in shape.items() if value is not None}
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


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def main(argv: list[str] | None = None) -> None:
    """Parse, then train."""
    Training(parse(argv)).run()


if __name__ == "__main__":
    sys.exit(run(main))
