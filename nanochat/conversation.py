"""A conversation as tokens: who speaks is said by special tokens, which no text can imitate."""

from collections.abc import Iterable
from typing import NamedTuple

from nanochat.settings import require
from nanochat.tokenizer import Tokenizer

USER, ASSISTANT, SYSTEM = "user", "assistant", "system"


class Message(NamedTuple):
    """What one side says."""

    role: str
    content: str


class Rendered(NamedTuple):
    """A conversation as a model sees it."""

    ids: list[int]
    counted: list[bool]
    """Whether the token is the assistant's: only those count in the loss. As long as `ids`."""


def render(tokenizer: Tokenizer, messages: Iterable[Message]) -> Rendered:
    """Tokens of a whole conversation: bos, then for each message its role's start, its text, its role's end.

    A system message, which can only come first, is put before the first user's text. The token that ends the
    assistant's text is the assistant's.

    Raises:
        ValueError: Roles do not alternate, beginning with the user.
    """
    ids, counted = [tokenizer.bos_id], [False]

    def add(tokens: list[int], *, count: bool) -> None:
        ids.extend(tokens)
        counted.extend([count] * len(tokens))

    for role, content in _alternating(messages):
        answers = role == ASSISTANT
        add(tokenizer.encode_special(f"<|{role}_start|>"), count=False)
        add(tokenizer.encode(content), count=answers)
        add(tokenizer.encode_special(f"<|{role}_end|>"), count=answers)
    return Rendered(ids, counted)


def render_for_reply(tokenizer: Tokenizer, messages: Iterable[Message]) -> list[int]:
    """Tokens after which the assistant speaks: the conversation, which ends with the user, and its start."""
    said = list(messages)
    last = said[-1].role if said else None
    require(last == USER, "the role of the last message", last, f"{USER}, for the assistant to reply to")
    return [*render(tokenizer, said).ids, *tokenizer.encode_special("<|assistant_start|>")]


def end_of_reply(tokenizer: Tokenizer) -> frozenset[int]:
    """Tokens that end what the assistant says: its own end, and a document's beginning."""
    return frozenset({*tokenizer.encode_special("<|assistant_end|>"), tokenizer.bos_id})


def _alternating(messages: Iterable[Message]) -> list[Message]:
    said = list(messages)
    if len(said) > 1 and said[0].role == SYSTEM and said[1].role == USER:
        said = [Message(USER, f"{said[0].content}\n\n{said[1].content}"), *said[2:]]
    for position, message in enumerate(said):
        expected = ASSISTANT if position % 2 else USER
        require(message.role == expected, f"the role of message {position + 1}", message.role, expected)
    return said
