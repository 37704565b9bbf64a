"""Several files of examples as one stream of batches, for mid-training and supervised fine-tuning.

A mixture is a YAML file. Paths are relative to it; an example is rendered as `nanochat.conversation` says,
and of a document all tokens count:

    train:
      - {file: talk.jsonl}
      - {file: arithmetic.jsonl, times: 2, limit: 8000}     twice in each pass, of its first 8,000 examples
    val:
      - {file: held_out.jsonl}
"""

import hashlib
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import yaml

from nanochat.conversation import Rendered, render
from nanochat.examples import Document, Example, read_examples
from nanochat.model import IGNORE_INDEX
from nanochat.packing import Batch
from nanochat.settings import check_known, require
from nanochat.stream import Place, Placed, Share
from nanochat.tokenizer import Tokenizer

SPLITS = ("train", "val")


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """Rendered examples of both splits."""

    train: tuple[Rendered, ...]
    val: tuple[Rendered, ...]
    hash: str
    """Identity of what is rendered, and of its order."""


def read_mixture(path: Path, tokenizer: Tokenizer) -> Mixture:
    """Read a mixture and the files that it names.

    Raises:
        ValueError: The mixture or a file is missing or wrong; one line that says where.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, RecursionError, yaml.YAMLError) as error:
        raise ValueError(f"mixture {path} is unreadable ({error}); it must be a YAML file") from error
    require(isinstance(raw, dict) and bool(raw.get("train")), f"mixture {path}", raw, "a mapping with train")
    check_known(f"mixture {path}", raw, list(SPLITS))
    split = {name: tuple(_of_split(path, name, raw.get(name) or [], tokenizer)) for name in SPLITS}
    digest = hashlib.sha256()
    for name in SPLITS:
        for ids, counted in split[name]:
            digest.update(f"{name} {ids} {''.join('01'[c] for c in counted)}\n".encode())
    return Mixture(train=split["train"], val=split["val"], hash=digest.hexdigest())


def _of_split(path: Path, name: str, entries: Any, tokenizer: Tokenizer) -> Iterator[Rendered]:
    require(isinstance(entries, list), f"{name} of mixture {path}", entries, "a list")
    for number, entry in enumerate(entries, 1):
        section = f"{name}[{number}] of mixture {path}"
        named = isinstance(entry, dict) and isinstance(entry.get("file"), str)
        require(named, section, entry, "a mapping with file, a path")
        check_known(section, entry, ["file", "times", "limit"])
        times, limit = entry.get("times", 1), entry.get("limit")
        require(type(times) is int and times >= 1, f"{section}: times", times, "at least 1")
        require(
            limit is None or (type(limit) is int and limit >= 1), f"{section}: limit", limit, "at least 1"
        )
        file = path.parent / entry["file"]
        rendered = [_rendered(tokenizer, example, file) for example in islice(read_examples(file), limit)]
        require(bool(rendered), f"{section}: {file}", "empty", "a file with an example")
        yield from rendered * times


def _rendered(tokenizer: Tokenizer, example: Example, file: Path) -> Rendered:
    if isinstance(example, Document):
        ids = [tokenizer.bos_id, *tokenizer.encode(example.text), tokenizer.bos_id]
        return Rendered(ids, [False] + [True] * (len(ids) - 1))
    try:
        return render(tokenizer, example.messages)
    except ValueError as error:
        raise ValueError(f"{file}: {error}: mend that example") from error


class MixtureStream:
    """Examples in batches without end, in another order at each pass."""

    def __init__(
        self, examples: Sequence[Rendered], *, bos_id: int, batch_size: int, sequence_length: int, seed: int
    ) -> None:
        """Batches are [batch_size, sequence_length], on the CPU; the orders follow from `seed`."""
        require(bool(examples), "the examples", "none", "one or more")
        self._examples = examples
        self._bos_id = bos_id
        self._batch_size = batch_size
        self._length = sequence_length
        self._seed = seed

    def batches(self, place: Place, share: Share) -> Iterator[Placed]:
        """Yield the batches of `share` from `place` on, whose row counts examples over the passes."""
        row = place.row
        windows = self._windows(row)
        while True:
            group = [list(islice(windows, self._batch_size)) for _ in range(share.ranks)]
            row += sum(window.examples for batch in group for window in batch)
            batch = batch_of(group[share.rank], self._length, self._bos_id)
            yield Placed(batch, Place(row))

    def windows(self, passes: int) -> int:
        """How many windows so many passes fill; each has an order of its own, and begins with a window."""
        left, count = passes * len(self._examples), 0
        for window in self._windows(0):
            left -= window.examples
            count += 1
            if not left:
                break
        return count

    def _windows(self, row: int) -> Iterator["Window"]:
        turn, done = divmod(row, len(self._examples))
        while True:
            order = list(range(len(self._examples)))
            random.Random(f"{self._seed} {turn}").shuffle(order)
            yield from windows_of((self._examples[i] for i in order[done:]), self._length)
            turn, done = turn + 1, 0


class Window:
    """A row of a batch while it is filled."""

    def __init__(self) -> None:
        """Begin empty."""
        self.inputs: list[int] = []
        self.targets: list[int] = []
        self.examples = 0

    def add(self, example: Rendered, length: int) -> None:
        """Append an example, or as much of it as a whole window of `length` has room for."""
        ids, counted = example.ids[:length], example.counted[1 : length + 1]
        following = example.ids[1 : length + 1]
        targets = [
            token if counts else IGNORE_INDEX for token, counts in zip(following, counted, strict=True)
        ]
        self.inputs.extend(ids)
        self.targets.extend(targets + [IGNORE_INDEX] * (len(ids) - len(targets)))  # nothing follows the last
        self.examples += 1


def windows_of(examples: Iterable[Rendered], length: int) -> Iterator[Window]:
    """Pack examples, in their order, into windows of `length` positions.

    A window holds whole examples; what the next one does not fit into is left empty. Of an example longer
    than a window the end is left out.
    """
    window = Window()
    for example in examples:
        if window.examples and len(window.inputs) + len(example.ids) > length:
            yield window
            window = Window()
        window.add(example, length)
    if window.examples:
        yield window


def count_silent(examples: Iterable[Rendered], length: int) -> int:
    """How many examples count no target: nobody answers, or only beyond a window of `length` positions."""
    return sum(not any(example.counted[1 : length + 1]) for example in examples)


def batch_of(windows: Sequence[Window], length: int, bos_id: int) -> Batch:
    """The windows as a batch [number, length] on the CPU: bos inputs and ignored targets where they end."""
    inputs = torch.full((len(windows), length), bos_id, dtype=torch.int64)
    targets = torch.full((len(windows), length), IGNORE_INDEX, dtype=torch.int64)
    for i, window in enumerate(windows):
        inputs[i, : len(window.inputs)] = torch.tensor(window.inputs)
        targets[i, : len(window.targets)] = torch.tensor(window.targets)
    return Batch(inputs=inputs, targets=targets, num_tokens=int((targets != IGNORE_INDEX).sum()))
