"""The demo's run file: corpus, tokenizer, traces, and a day's work made to fit the day."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curtail_dist.config import dialect
from curtail_dist.errors import ConfigError
from curtail_dist.units import SECONDS_PER_HOUR
from curtail_launch.demo.day import DAYS, START, THRESHOLD_G_PER_KWH, write_day
from nanochat import shards
from nanochat.dataset import prepare_stdlib
from nanochat.tok_train import train_tokenizer_to
from nanochat.tokenizer import Tokenizer

BATCH = 16
SEQUENCE = 128
VOCABULARY = 1024
BYTES_PER_MINUTE = 3_500_000
"""Corpus bytes that keep the demo training for about a minute on two cores."""
ROUND_H = 0.25
"""Virtual length of a round."""
SYNC_S = 60.0
JOIN_S = 345.0
"""Provisioning, loading and compiling at the published sites."""
TRAIN_W, IDLE_W = 2024.0, 468.0
"""Four A100, training and idle, as published."""
WORK_SHARE = 17.0 / 18.0
"""Site-hours of training, as a share of the day's length, where all of its sites take part; with fewer it is
less, as their windows hold less."""


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What the user asked of the demo."""

    out: Path
    day: str = "published"
    sites: int = 3
    minutes: float = 1.0
    seed: int = 1
    energy: str = "trace"
    provisioner: Mapping[str, Any] | None = None
    """What starts each site's ranks, as the run file's own block says it; None: its default."""

    def __post_init__(self) -> None:
        if self.day not in DAYS:
            raise ConfigError(f"--day is {self.day!r}; it must be one of {', '.join(DAYS)}")
        known = len(DAYS[self.day].windows)
        if not 1 <= self.sites <= known:
            raise ConfigError(f"--sites is {self.sites}; it must be 1 to {known}")
        if not 0.2 <= self.minutes <= 60:
            raise ConfigError(f"--minutes is {self.minutes:g}; it must be 0.2 to 60")
        if self.energy not in ("trace", "vessim"):
            raise ConfigError(f"--energy is {self.energy!r}; it must be trace or vessim")


@dataclass(frozen=True, kw_only=True)
class Material:
    """What there is to train on."""

    manifest: Path
    tokenizer: Path
    tokens: int
    """Tokens of the training split: those of its documents, each with its beginning."""


def prepare(wishes: Wishes) -> Material:
    """Make corpus and tokenizer below the run directory; what an earlier call made is kept."""
    root = wishes.out / "data"
    max_bytes = int(BYTES_PER_MINUTE * wishes.minutes)
    manifest = prepare_stdlib(root, max_bytes=max_bytes, seed=wishes.seed)
    path = train_tokenizer_to(root, vocab_size=VOCABULARY, max_chars=2_000_000, doc_cap=4_096)
    tokenizer = Tokenizer.load(path)
    texts = shards.read_texts(shards.load(manifest), "train")
    return Material(
        manifest=manifest, tokenizer=path, tokens=sum(len(tokenizer.encode(text)) for text in texts)
    )


def run_tree(wishes: Wishes, material: Material, *, etcd: str, clock: str) -> dict[str, Any]:
    """Return the run file of the day: as many inner steps as the corpus gives are the sites' planned work."""
    day = DAYS[wishes.day]
    traces = write_day(wishes.out / "traces", name=wishes.day, seed=wishes.seed)
    sites = dict(list(traces.items())[: wishes.sites])
    steps = max(1, material.tokens // (BATCH * SEQUENCE))
    part = day.open_s(sites) / day.open_s(day.windows)
    step_s = WORK_SHARE * day.length_s * part / steps
    return {
        "run": {
            "name": "demo",
            "directory": str(wishes.out),
            "seed": wishes.seed,
            "start": START.isoformat(),
            "deadline_h": day.length_s / SECONDS_PER_HOUR,
        },
        "clock": {"kind": "virtual", "endpoint": clock, "step_s": step_s, "sync_s": SYNC_S, "join_s": JOIN_S},
        "coordination": {"endpoints": [etcd]},
        "sites": {name: _site(wishes, path) for name, path in sites.items()},
        "policy": {"threshold_g_per_kwh": THRESHOLD_G_PER_KWH, "leave_delay_s": 600.0, "poll_s": 60.0},
        "round": {"steps": max(1, round(ROUND_H * SECONDS_PER_HOUR / step_s))},
        "state": {"durable_before_commit": True},
        **learning(material),
    }


def baseline_tree(wishes: Wishes, material: Material, *, etcd: str, clock: str) -> dict[str, Any]:
    """Return the run file of the same training at one site that is always on."""
    tree = run_tree(wishes, material, etcd=etcd, clock=clock)
    directory = wishes.out / "baseline"
    tree["run"] = {**tree["run"], "name": "demo-baseline", "directory": str(directory)}
    first = next(iter(tree["sites"].values()))
    tree["sites"] = {"always-on": {**first, "signal": {"kind": "constant", "value": 0.0}}}
    tree["policy"] = {**tree["policy"], "kind": "always"}
    return tree


def learning(material: Material) -> dict[str, Any]:
    """Return what is learned and how: the same at the demo's sites and at the always-on baseline."""
    return {
        "data": {"manifest": str(material.manifest)},
        "model": {
            "n_layer": 2,
            "n_embd": 96,
            "n_head": 3,
            "vocab_size": VOCABULARY,
            "sequence_length": SEQUENCE,
        },
        "outer": {"optimizer": "nesterov", "lr": 0.8, "momentum": 0.5},
        "train": {
            "program": "curtail_launch.train",
            "tokenizer": str(material.tokenizer),
            "total_tokens": material.tokens,
            "device_batch_size": BATCH,
            "eval_every": 10,
            "eval_sequences": 128,
            "optimizer": {"weight_decay": 0.0},
            "schedule": {"warmdown_share": 0.5, "momentum_warmup_share": 0.1},
        },
    }


def write_run_file(tree: dict[str, Any], directory: Path) -> Path:
    """Write the run file and return its path."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "run.yaml"
    path.write_text(dialect.dump(tree), encoding="utf-8")
    return path


def _site(wishes: Wishes, trace: Path) -> dict[str, Any]:
    site: dict[str, Any] = {
        "signal": {"kind": wishes.energy, "path": str(trace)},
        "power": {"train_w": TRAIN_W, "idle_w": IDLE_W},
    }
    return site if wishes.provisioner is None else {**site, "provisioner": dict(wishes.provisioner)}
