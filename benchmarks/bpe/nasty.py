"""Strings that break tokenizers: digits, apostrophes, line breaks, marks, emoji, surrogates, long runs."""

import random
from collections.abc import Iterator

WORDS = (
    "a b the Don É ß 字 東京 न ǅ ʰ ª 0 1 12 ٣ ² Ⅷ 一 ① 's 'S 't 'll 'LL 'Ve 're 'm 'D '\u017f \u2019s "
    "'' ?! == 🙂 🇩🇪 👩\u200d💻 <|bos|> <|endoftext|>"
)
CHARACTERS = (
    "\u017f\u212a\u0627\u093f\u0e33\U0001d7d8'!_-$ \t\n\r\v\f\x1c\x85\u00a0\u1680\u180e\u2003\u2028"
    "\u2029\u200b\u202f\u3000\ufeff\x00\x7f\u00ad\u0301\u20dd\u200d\ufe0f\U000e0001\ue000\ufffd\uffff\U0010ffff\u0378"
)
ATOMS = [*WORDS.split(" "), *CHARACTERS, "  ", "\r\n"]
SURROGATES = ["\ud800", "\udc80", "\udcff", "\udfff", "\ud83d\ude42"]
LONG_ONE_IN, SURROGATES_ONE_IN, ANY_ONE_IN = 200, 10, 8


def strings(count: int, seed: int) -> Iterator[str]:
    """So many strings, the same for the same seed; one in ten or so has surrogates."""
    chance = random.Random(seed)
    for _ in range(count):
        atoms = [*ATOMS, *SURROGATES] if chance.randrange(SURROGATES_ONE_IN) == 0 else ATOMS
        parts = list[str]()
        for _ in range(chance.randrange(1, 25)):
            part = chance.choice(atoms)
            if chance.randrange(ANY_ONE_IN) == 0:
                part = chr(chance.randrange(0x3000) if chance.randrange(2) else any_point(chance))
            longest = 3000 if chance.randrange(LONG_ONE_IN) == 0 else 4
            parts.append(part * chance.randrange(1, longest))
        yield "".join(parts)


def any_point(chance: random.Random) -> int:
    """A code point that is no surrogate."""
    point = chance.randrange(0x110000 - 0x800)
    return point if point < 0xD800 else point + 0x800


def whole(text: str) -> str:
    """The text with surrogate pairs joined and lone surrogates replaced, which is how tiktoken reads it."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
