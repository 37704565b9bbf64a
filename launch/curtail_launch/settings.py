"""What the nanochat rank program reads from the run file's `train` section, checked."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from curtail_kernels.dispatch import IMPLEMENTATIONS, Implementation

from curtail_dist.config import RunConfig
from curtail_dist.config.reader import build
from curtail_dist.data.manifest import read_manifest, sha256_of
from curtail_dist.errors import ConfigError
from nanochat.model import GPTConfig
from nanochat.recipes import OPTIM_CONFIGS, SCHEDULES, OptimConfig, OptimConfig202607
from nanochat.schedule import Schedule


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """The keys of `train` that `curtail_launch.train` knows, besides `program`."""

    tokenizer: Path
    """Tokenizer file. Relative paths start at the data manifest. One that is not there comes from another
    site, or from below the manifest's `url`, if the manifest names it."""
    total_tokens: int
    """Tokens of the whole run, for the schedule."""
    device_batch_size: int = 16
    """Sequences of one forward pass on this rank."""
    total_batch_size: int | None = None
    """Tokens of one inner step at a site, over all its ranks; null: one pass of each rank. A rank does as
    many passes for a step as that takes. Where it is given the learning rates follow it, unless `optimizer`
    says `batch_tokens` itself."""
    threads: int = 1
    """CPU threads of this rank."""
    device: str = "auto"
    """`cpu`, `cuda`, or `auto`: CUDA where there is one."""
    compile: bool | None = None
    """Whether the model is compiled, before the site comes into the run; null: on CUDA only."""
    attention: Implementation | None = None
    """What computes attention in training: `plain`, `cudnn`, `flex` or `triton`; null: what
    `curtail_kernels.dispatch` says. Other sites may say otherwise."""
    fused: bool = False
    """Whether relu squared, the head with its loss, Muon's products and the codec are by the fused kernels.
    Without CUDA their plain counterparts are taken."""
    sharded: bool = True
    """At a site of several ranks: whether each of them updates a share of the parameters and holds the
    optimizer's state of that alone. If not, each updates all, and DistributedDataParallel averages."""
    eval_every: int = 10
    """Commits between two evaluations; the first and the last version are always evaluated."""
    eval_sequences: int = 64
    """Held-out sequences of an evaluation."""
    sample_every: int = 0
    """Commits between two samples of what the global model writes; 0: none."""
    optimizer: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Learning rates and constants of Muon and AdamW (nanochat.recipes.OPTIM_CONFIGS, by variant)."""
    schedule: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Warm-up, warm-down, momentum (nanochat.recipes.SCHEDULES, by variant)."""

    def __post_init__(self) -> None:
        names = (
            "total_tokens",
            "device_batch_size",
            "total_batch_size",
            "threads",
            "eval_every",
            "eval_sequences",
        )
        for name in names:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"train.{name} is {value}; it must be at least 1")
        if self.sample_every < 0:
            raise ConfigError(f"train.sample_every is {self.sample_every}; it must be at least 0")
        if self.attention not in (None, *IMPLEMENTATIONS):
            known = ", ".join(IMPLEMENTATIONS)
            raise ConfigError(f"train.attention is {self.attention!r}; it must be one of {known}, or null")
        if self.device not in ("auto", "cpu", "cuda"):
            raise ConfigError(f"train.device is {self.device!r}; it must be auto, cpu or cuda")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Model, optimizer and schedule of a run, all checked."""

    options: TrainOptions
    tokenizer: Path
    tokenizer_sha256: str
    """Of that file; where it is not there yet, as the data manifest says."""
    model: GPTConfig
    optimizer: OptimConfig | OptimConfig202607
    schedule: Schedule

    def passes(self, ranks: int) -> int:
        """Forward passes of an inner step at each rank of a site that has `ranks` of them.

        Raises ConfigError if that is no whole number.
        """
        each = self.options.device_batch_size * self.model.sequence_length * ranks
        tokens = self.options.total_batch_size
        if tokens is None:
            return 1
        if tokens % each:
            raise ConfigError(
                f"train.total_batch_size is {tokens}; at a site whose ranks are {ranks} it must be a "
                f"multiple of {each} = ranks x device_batch_size x sequence_length"
            )
        return tokens // each


def read_recipe(config: RunConfig) -> Recipe:
    """Check `model` and `train` of a run file, for all its sites. Raises ConfigError."""
    options = build(TrainOptions, config.train.options, "train")
    tokenizer = config.data.manifest.parent / options.tokenizer
    try:
        model = GPTConfig.from_mapping(config.model)
        recipe = Recipe(
            options=options,
            tokenizer=tokenizer,
            tokenizer_sha256=_tokenizer_hash(tokenizer, config.data.manifest),
            model=model,
            optimizer=OPTIM_CONFIGS[model.variant].from_mapping(_rates(options)),
            schedule=SCHEDULES[model.variant].from_mapping(options.schedule),
        )
    except ValueError as error:
        raise ConfigError(str(error)) from error
    for ranks in sorted({site.provisioner.ranks for site in config.sites.values()}):
        recipe.passes(ranks)
    return recipe


def _tokenizer_hash(tokenizer: Path, manifest: Path) -> str:
    # One that is there is the user's own choice, whatever the manifest names.
    if tokenizer.is_file():
        return sha256_of(tokenizer)
    named = read_manifest(manifest).tokenizer
    if named is None:
        raise ConfigError(
            f"train.tokenizer is {tokenizer}, which is no file, and {manifest} names none to be fetched: "
            "train a tokenizer first"
        )
    return named.sha256


def _rates(options: TrainOptions) -> dict[str, Any]:
    if options.total_batch_size is None:
        return dict(options.optimizer)
    return {"batch_tokens": options.total_batch_size, **options.optimizer}
