"""A run of the vanilla loop: steps from a stream of batches, looks on the way, checkpoints."""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from nanochat import checkpoint
from nanochat.files import as_json, write_text
from nanochat.loop import StepReport, train
from nanochat.model import GPT
from nanochat.optim import MuonAdamW
from nanochat.packing import Batch
from nanochat.ranks import Ranks
from nanochat.read_ahead import read_ahead
from nanochat.schedule import Pace, Schedule
from nanochat.settings import require
from nanochat.speed import Speed, peak_flops
from nanochat.steps import steps_of
from nanochat.stream import Place, Placed, Share
from nanochat.tok_train import tokenizer_path
from nanochat.tokenizer import Tokenizer
from nanochat.verb import say, warn

Record = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Watch:
    """Something to look at on the way, and at the end."""

    every: int
    """Steps between two looks; 0: at the end only."""
    look: Callable[[], Record]
    """Called at all ranks; what the one that leads got goes into the record of the step."""
    at_start: bool = False
    """Whether to look before the first step too."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is trained, on what, and how far."""

    model: GPT
    forward: torch.nn.Module
    """The model, or the model compiled."""
    optimizer: MuonAdamW
    schedule: Schedule
    batches: Callable[[Place, Share], Iterator[Placed]]
    """Batches of a share of the stream, from a place on, without end."""
    steps: int
    accumulate: int
    """Batches of a step, at each rank."""
    tokens_per_step: int
    """Positions of a step, at all ranks."""
    identity: Mapping[str, Any]
    """What determines the bytes of the run, up to how they are computed: a checkpoint must share it with this
    run to be gone on from; JSON values."""


@dataclass(frozen=True, kw_only=True)
class Keeping:
    """What is kept of a run, and how often."""

    directory: Path
    """Gets `checkpoints/` and `log.jsonl`."""
    tokenizer: Tokenizer | None
    """Is put beside them as the run begins or goes on; None: it is there."""
    save_every: int
    """Steps between checkpoints; 0: at the end only."""
    log_every: int
    """Steps between lines of the log; 0: only where something was looked at."""


class Training:
    """Owns where a run stands; `run` advances it to its last step."""

    def __init__(self, job: Job, keeping: Keeping, ranks: Ranks, watches: Sequence[Watch]) -> None:
        """Stand at the beginning."""
        self._job = job
        self._keeping = keeping
        self._ranks = ranks
        self._watches = watches
        self._log = _Log(keeping.directory / "log.jsonl") if ranks.leads else None
        self._step = 0
        self._place = Place()
        peak = peak_flops(ranks.device)
        whole = None if peak is None else peak * ranks.count
        self._speed = Speed(job.model.flops_per_token(), whole, time.perf_counter)

    def resume(self) -> None:
        """Stand where the newest checkpoint was written. Raises ValueError if none is there or fits."""
        directory = self._keeping.directory
        path = checkpoint.newest(directory)
        if path is None:
            raise ValueError(f"{directory} has no checkpoint to resume; it must have one: leave out --resume")
        facts = checkpoint.facts_of(path)
        there = dict(_flat(facts))
        for key, value in _flat(self._job.identity):
            must = f"{value!r}, as asked: ask for what it was trained with, or begin in another --root"
            require(there.get(key) == value, f"checkpoint {path}: {key}", there.get(key), must)
        checkpoint.restore(path, self._job.model, self._job.optimizer)
        self._step, self._place = facts["step"], Place(*facts["place"])

    def run(self) -> None:
        """Train to the last step; look, log and save on the way and at the end.

        Where a resumed run has no step left, it says so and leaves all as it was. Raises ValueError where
        another run is in the directory.
        """
        if self._step == self._job.steps:
            if self._ranks.leads:
                done = f"step {self._step} of {self._job.steps} is done, nothing is left to do"
                say(f"{self._keeping.directory}: {done}")
            return
        if not self._ranks.leads:
            self._train()
            return
        keeping = self._keeping
        with checkpoint.alone(keeping.directory, new=self._step == 0):
            if keeping.tokenizer is not None:
                keeping.tokenizer.save(tokenizer_path(keeping.directory))
            self._train()

    def _train(self) -> None:
        job = self._job
        if self._log is not None:
            self._log.begin(self._step)
        if self._step == 0:
            self._say({"step": 0}, [watch for watch in self._watches if watch.at_start])
        share = Share(rank=self._ranks.rank, ranks=self._ranks.count)
        source = islice(
            job.batches(self._place, share), (job.steps - self._step) * job.accumulate
        )  # ends with the last step: the thread that makes them ends too
        with read_ahead(map(self._pinned, source)) as ready:
            train(
                job.forward,
                job.optimizer,
                steps_of(self._arriving(ready), job.accumulate),
                pace=Pace(schedule=job.schedule, progress=lambda: self._step / job.steps),
                after_step=self._after_step,
            )

    def _pinned(self, placed: Placed) -> Placed:
        """In memory that a GPU can read on its own."""
        if self._ranks.device.type != "cuda":
            return placed
        return placed._replace(batch=placed.batch.pinned())

    def _arriving(self, ready: Iterator[Placed]) -> Iterator[Batch]:
        # The loop pulls a step's batches together, so that the last place is the step's.
        for batch, place in ready:
            self._place = place
            yield batch.to(self._ranks.device)

    def _after_step(self, report: StepReport) -> None:
        self._step += 1
        self._speed.add(self._job.tokens_per_step)
        ended = self._step == self._job.steps
        due = [watch for watch in self._watches if ended or _due(self._step, watch.every)]
        telling = due or ended or _due(self._step, self._keeping.log_every)
        trained = self._trained(report) if telling else {}
        if ended or _due(self._step, self._keeping.save_every):
            self._save(last=ended)  # before what may fail and can be done again
        if telling:
            self._say(trained, due)

    def _trained(self, report: StepReport) -> Record:
        nats, tokens = self._ranks.sum([report.loss * report.tokens, report.tokens])
        rate, share = self._speed.look()
        return {
            "step": self._step,
            "tokens": self._step * self._job.tokens_per_step,
            "loss": nats / max(tokens, 1),
            "lr_factor": report.lr_factor,
            "tokens_per_s": rate,
            **({} if share is None else {"mfu": share}),
        }

    def _say(self, record: Record, due: Sequence[Watch]) -> None:
        began = time.perf_counter()
        for watch in due:
            record |= watch.look()
        self._speed.leave_out(time.perf_counter() - began)
        if self._log is not None:
            self._log.write(record)
            say(_line(record, self._job.steps))

    def _save(self, *, last: bool) -> None:
        """Save; what the disk does not take on the way is told and lost, and the steps after it are not.

        Raises OSError for the last checkpoint.
        """
        whole = self._job.optimizer.whole_state()
        if not self._ranks.leads:
            return
        path = checkpoint.checkpoint_path(self._keeping.directory, self._step)
        facts = {**self._job.identity, "step": self._step, "place": list(self._place)}
        try:
            checkpoint.save(path, self._job.model, whole, facts)
        except OSError as error:
            if last:
                raise
            warn(f"{path} is not written ({error.strerror}), training goes on: make room before the next one")


class _Log:
    """The steps' records, a line of JSON each."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def begin(self, step: int) -> None:
        """Keep what was written up to `step`, which is where the run goes on."""
        kept: list[str] = []
        if step and self._path.exists():
            lines = self._path.read_text(encoding="utf-8").splitlines()
            # A run that died may have left half a line, and steps that no checkpoint has.
            kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= step]
        write_text(self._path, "".join(f"{line}\n" for line in kept))

    def write(self, record: Record) -> None:
        """Append a record; one that cannot be written is told: the run is worth more than its log."""
        line = json.dumps(as_json(record), sort_keys=True, allow_nan=False) + "\n"
        size: int | None = None
        try:
            with self._path.open("a", encoding="utf-8") as file:
                size = file.tell()
                file.write(line)
        except OSError as error:
            with suppress(OSError):
                if size is not None:
                    os.truncate(self._path, size)  # of half a line
            warn(f"{self._path} lacks step {record['step']} ({error.strerror}): make room")


def _flat(facts: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Each value of nested mappings by its path, such as `model.n_layer`; as JSON gives it back."""
    for key, value in facts.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", list(value) if isinstance(value, tuple) else value


def _line(record: Record, steps: int) -> str:
    said = dict(record)
    texts = said.pop("samples", [])
    parts = [f"step {said.pop('step')} of {steps}"]
    if "tokens" in said:
        parts.append(f"{said.pop('tokens')} tokens")
    for name, value in said.items():
        digits = ".0f" if name == "tokens_per_s" else ".4f"
        parts.append(
            f"{name.replace('_', ' ')} {value:{digits}}" if isinstance(value, float) else f"{name} {value}"
        )
    return "\n".join([", ".join(parts), *(f"  {text!r}" for text in texts)])


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0
