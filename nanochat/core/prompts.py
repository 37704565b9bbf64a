"""An item as token sequences, each with the span of it that is scored. Pure: no model is asked."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from nanochat.core.tasks import Item, LanguageModeling, MultipleChoice

SHOT_END = "\n\n"


class Encoder(Protocol):
    """What prompts need of a tokenizer."""

    @property
    def bos_id(self) -> int:
        """The token before each prompt."""
        ...

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, without specials."""
        ...


class Scored(NamedTuple):
    """A sequence of which `ids[start:end]` is scored."""

    ids: list[int]
    start: int
    end: int


def prompts_of(item: Item, shots: Sequence[Item], delimiter: str, encoder: Encoder) -> list[Scored]:
    """The sequences whose scores decide an item; of each choice or context one, for language modelling one.

    Args:
        item: The question.
        shots: Solved items that come before it.
        delimiter: Between a text and its continuation.
        encoder: Each sequence begins with its bos.
    """
    before = "".join(solved(shot, delimiter) + SHOT_END for shot in shots)

    def ids(text: str) -> list[int]:
        return [encoder.bos_id, *encoder.encode(before + text)]

    if isinstance(item, MultipleChoice):
        sequences = [ids(f"{item.query}{delimiter}{choice}") for choice in item.choices]
        start = common_prefix(sequences)
        return [Scored(sequence, start, len(sequence)) for sequence in sequences]
    if isinstance(item, LanguageModeling):
        # Spaces at the end would be tokens of their own that the whole text does not have.
        without = ids(f"{item.context.strip()}{delimiter}".rstrip())
        whole = ids(solved(item, delimiter))
        return [Scored(whole, common_prefix([without, whole]), len(whole))]
    sequences = [ids(f"{context}{delimiter}{item.continuation}") for context in item.contexts]
    length = common_prefix([sequence[::-1] for sequence in sequences])
    return [Scored(sequence, len(sequence) - length, len(sequence)) for sequence in sequences]


def solved(item: Item, delimiter: str) -> str:
    """An item with its right answer."""
    if isinstance(item, MultipleChoice):
        return f"{item.query}{delimiter}{item.choices[item.gold]}"
    if isinstance(item, LanguageModeling):
        return f"{item.context.strip()}{delimiter}{item.continuation}"
    return f"{item.contexts[item.gold]}{delimiter}{item.continuation}"


def common_prefix(sequences: Sequence[Sequence[int]]) -> int:
    """Number of tokens that all sequences begin with."""
    length = 0
    for tokens in zip(*sequences, strict=False):
        if len(set(tokens)) > 1:
            return length
        length += 1
    return length


def cropped(scored: Scored, length: int) -> Scored:
    """The last `length` tokens; of a span that does not fit with a token before it, the end."""
    gone = max(0, len(scored.ids) - length)
    return Scored(scored.ids[gone:], max(1, scored.start - gone), scored.end - gone)
