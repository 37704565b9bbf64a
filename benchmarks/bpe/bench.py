"""What is measured, with what, how often; and the processes that do it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bpe import processes
from bpe.processes import OURS, Failed


@dataclass(frozen=True, kw_only=True)
class Bench:
    """One run of the benchmark."""

    python: Path
    """The peers' interpreter."""
    folder: Path
    """Of the corpus, and of what is made on the way."""
    vocabularies: Sequence[int]
    encode_vocabulary: int
    repeats: int
    warm_bytes: int
    """Training text that an encoder sees before it is measured."""
    strings: int
    passes: int
    """Over the training text, in the run that shows the bound of memory."""
    long_run: int
    """Characters."""
    seed: int = 1

    @property
    def train_text(self) -> Path:
        return self.folder / "train.txt"

    @property
    def new_text(self) -> Path:
        return self.folder / "new.txt"

    @property
    def merges(self) -> Path:
        """The merges that all libraries encode with: those that ours learns."""
        path = self.folder / f"merges-{self.encode_vocabulary}.json"
        if not path.is_file():
            self.run("merges", OURS, 2, path=self.train_text, vocabulary=self.encode_vocabulary, merges=path)
        return path

    def tokens(self, library: str, vocabulary: int) -> list[bytes] | None:
        """The tokens that a library learns, in order; trained now unless that was done before."""
        path = self.tokens_file(library, vocabulary)
        if not path.is_file():
            self.train(library, vocabulary)
        return [bytes.fromhex(line) for line in path.read_text().split()] if path.is_file() else None

    def train(self, library: str, vocabulary: int) -> Any:
        tokens = self.tokens_file(library, vocabulary)
        return self.run("train", library, 2, path=self.train_text, vocabulary=vocabulary, tokens=tokens)

    def tokens_file(self, library: str, vocabulary: int) -> Path:
        return self.folder / f"tokens-{library}-{vocabulary}.txt"

    def run(self, what: str, library: str, threads: int, **rest: Any) -> Any:
        """What a process of its own says, or why it failed."""
        try:
            said = processes.run(self.python, what, library, threads, **rest)
        except Failed as failed:
            said = {"failed": str(failed)}
        print(what, library, threads, json.dumps(said)[:300], flush=True)
        return said
