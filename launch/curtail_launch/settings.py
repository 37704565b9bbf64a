"""What the nanochat rank program reads from the run file's `train` section, checked."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from curtail_dist.config import RunConfig
from curtail_dist.config.reader import build
from curtail_dist.errors import ConfigError
from nanochat.model import GPTConfig
from nanochat.recipes import OPTIM_CONFIGS, SCHEDULES, OptimConfig, OptimConfig202607
from nanochat.schedule import Schedule


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """The keys of `train` that `curtail_launch.train` knows, besides `program`."""

    tokenizer: Path
    """Tokenizer file. Relative paths start at the data manifest."""
    total_tokens: int
    """Tokens of the whole run, for the schedule."""
    device_batch_size: int = 16
    """Sequences of one inner step on this rank."""
    threads: int = 1
    """CPU threads of this rank."""
    device: str = "auto"
    """`cpu`, `cuda`, or `auto`: CUDA where there is one."""
    eval_every: int = 10
    """Commits between two evaluations; the first and the last version are always evaluated."""
    eval_sequences: int = 64
    """Held-out sequences of an evaluation."""
    optimizer: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Learning rates and constants of Muon and AdamW (nanochat.recipes.OPTIM_CONFIGS, by variant)."""
    schedule: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Warm-up, warm-down, momentum (nanochat.recipes.SCHEDULES, by variant)."""

    def __post_init__(self) -> None:
        for name in ("total_tokens", "device_batch_size", "threads", "eval_every", "eval_sequences"):
            if getattr(self, name) < 1:
                raise ConfigError(f"train.{name} is {getattr(self, name)}; it must be at least 1")
        if self.device not in ("auto", "cpu", "cuda"):
            raise ConfigError(f"train.device is {self.device!r}; it must be auto, cpu or cuda")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Model, optimizer and schedule of a run, all checked."""

    options: TrainOptions
    tokenizer: Path
    model: GPTConfig
    optimizer: OptimConfig | OptimConfig202607
    schedule: Schedule


def read_recipe(config: RunConfig) -> Recipe:
    """Check `model` and `train` of a run file. Raises ConfigError."""
    options = build(TrainOptions, config.train.options, "train")
    tokenizer = config.data.manifest.parent / options.tokenizer
    if not tokenizer.is_file():
        raise ConfigError(f"train.tokenizer is {tokenizer}, which is no file; train a tokenizer first")
    try:
        model = GPTConfig.from_mapping(config.model)
        return Recipe(
            options=options,
            tokenizer=tokenizer,
            model=model,
            optimizer=OPTIM_CONFIGS[model.variant].from_mapping(options.optimizer),
            schedule=SCHEDULES[model.variant].from_mapping(options.schedule),
        )
    except ValueError as error:
        raise ConfigError(str(error)) from error
