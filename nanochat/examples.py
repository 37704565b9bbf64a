"""Examples of conversations on disk, a JSON object a line, in any of four kinds.

    {"messages": [{"role": "user", "content": ...}, {"role": "assistant", ...}, ...]}
    {"question": ..., "choices": [...], "gold": 0}
    {"question": ..., "answer": ...}
    {"text": ...}

The first is a conversation; the second a question with choices, which are lettered from A; the third an open
question, graded by what follows the last `####` of its answer, or by all of it; the fourth a document.
Parquet files hold the same as columns. A list of messages alone, as some sets have it, is a conversation too.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from nanochat.conversation import ASSISTANT, USER, Message

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
ANSWER_MARK = "####"


@dataclass(frozen=True)
class Conversation:
    """What was said."""

    messages: tuple[Message, ...]


@dataclass(frozen=True)
class Choice:
    """A question of whose answers one is right; the assistant says its letter."""

    question: str
    choices: tuple[str, ...]
    gold: int

    @property
    def letters(self) -> str:
        """The letters of the answers, in their order."""
        return LETTERS[: len(self.choices)]

    @property
    def messages(self) -> tuple[Message, ...]:
        """As a conversation."""
        offered = "\n".join(
            f"{letter}. {text}" for letter, text in zip(self.letters, self.choices, strict=True)
        )
        asked = f"{self.question}\n\n{offered}\n\nAnswer with the letter alone."
        return Message(USER, asked), Message(ASSISTANT, self.letters[self.gold])


@dataclass(frozen=True)
class Open:
    """A question that is answered in words."""

    question: str
    answer: str

    @property
    def messages(self) -> tuple[Message, ...]:
        """As a conversation."""
        return Message(USER, self.question), Message(ASSISTANT, self.answer)

    def accepts(self, reply: str) -> bool:
        """Whether a reply comes to the same: case, commas in numbers and spaces at the ends do not count."""
        return _graded(reply) == _graded(self.answer)


@dataclass(frozen=True)
class Document:
    """A text that nobody says."""

    text: str


Example = Conversation | Choice | Open | Document


def read_examples(path: Path) -> Iterator[Example]:
    """Read a file of examples.

    Raises:
        ValueError: It cannot be read, or a line is none of the kinds; names file and line.
    """
    number = 1
    try:
        for raw in _rows(path):
            yield _example(raw)
            number += 1
    except OSError as error:
        reason = error.strerror or error
        raise ValueError(f"{path} is unreadable ({reason}); it must be a file of examples") from error
    except (ValueError, KeyError, TypeError, RecursionError, pa.ArrowException) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error).splitlines()[0]
        raise ValueError(
            f"{path}, example {number}: {reason}; it must have messages, question with choices and gold, "
            "question with answer, or text"
        ) from error


def _rows(path: Path) -> Iterator[Any]:
    if path.suffix == ".parquet":
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1_024):
                yield from batch.to_pylist()
        return
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if line.strip():
                yield json.loads(line)


def _example(raw: Any) -> Example:
    if isinstance(raw, list):
        raw = {"messages": raw}
    if not isinstance(raw, Mapping):
        raise TypeError(f"it is {type(raw).__name__}")
    if "messages" in raw:
        messages = tuple(Message(_text(one, "role"), _text(one, "content")) for one in raw["messages"])
        if not messages:
            raise ValueError("messages is empty")
        return Conversation(messages)
    if "choices" in raw:
        return _choice(raw)
    if "question" in raw:
        return Open(_text(raw, "question"), _text(raw, "answer"))
    return Document(_text(raw, "text"))


def _choice(raw: Mapping[str, Any]) -> Choice:
    choices, gold = raw["choices"], raw["gold"]
    if not isinstance(choices, list) or not 2 <= len(choices) <= len(LETTERS):
        raise ValueError(f"choices is {choices!r}")
    if type(gold) is not int or not 0 <= gold < len(choices):
        raise ValueError(f"gold is {gold!r}, of {len(choices)} choices")
    return Choice(_text(raw, "question"), tuple(str(choice) for choice in choices), gold)


def _text(raw: Any, key: str) -> str:
    value = raw.get(key) if isinstance(raw, Mapping) else None
    if not isinstance(value, str):
        raise TypeError(f"{key} is {value!r}")
    return value


def _graded(text: str) -> str:
    text = text.rsplit(ANSWER_MARK, 1)[-1].strip().casefold().rstrip(".")
    return text.replace(",", "") if any(c.isdigit() for c in text) else text
