"""Calls the module with odd arguments for some minutes: what comes back is right, or is one clear exception.

    python tests/rustbpe/boundary.py [--minutes 3] [--seed 1]

A panic reaches Python as an exception that is no `Exception`; it ends this with the seed that repeats it.
"""

import argparse
import random
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from rustbpe import SPLIT_PATTERN, Tokenizer

CHARACTERS = "aab'sS\u017f\u212a 12٣\n\r\t\u00a0\u3000é東🙂\u0301\u200d!_\x00\ufffd\ud800\udcff\U0010ffff"
PATTERNS = [SPLIT_PATTERN, SPLIT_PATTERN.replace("{1,2}", "{1,3}"), r"(?s:.+)", r"\S+|\s+"]
ODD_PATTERNS = [
    "",
    "(",
    "a*",
    r"\w+",
    r"(?:(a|b)\1?)+c|(?s:.)",
    "\ud800",
    "(?=a)",
    r"\Ga|(?s:.)",
    "(?s:.){0}",
]
NUMBERS = [-1, 0, 1, 2, 255, 256, 257, 258, 300, 1000, 2**31, 2**32, 2**63, 2**64, 2**80, -(2**63), True]
ODD: list[Any] = [
    None,
    "",
    "a",
    b"a",
    1.5,
    (),
    [],
    {},
    [None],
    [b"a"],
    ["a", 1],
    object,
    float("nan"),
    {"a": 1},
]
REFUSALS = (ValueError, TypeError, OSError, LookupError)
"""What a call may raise; UnicodeError is a ValueError, an unknown `errors` a LookupError."""


class Chance(random.Random):
    """Odd values, the same for the same seed."""

    def text(self, longest: int = 40) -> str:
        size = self.choice([0, 1, 2, 5, longest, self.randrange(longest * 20)])
        alphabet = self.choice([CHARACTERS, CHARACTERS.replace("\ud800\udcff", ""), "ab", " ", "1", "'s "])
        return "".join(self.choices(alphabet, k=size))

    def texts(self) -> Any:
        made: list[Any] = [self.text() for _ in range(self.randrange(6))]
        return self.choice([made, tuple(made), iter(made), made, made, self.choice(ODD)])

    def names(self) -> Any:
        return self.choice([(), (), ["<a>"], ["<a>", "<a><b>", "é"], self.texts()])

    def pattern(self) -> Any:
        return self.choice([*PATTERNS, *PATTERNS, *ODD_PATTERNS, self.text(8)])

    def ids(self, size: int) -> Any:
        known = [self.randrange(size) for _ in range(self.randrange(20))]
        return self.choice([known, known, known, [*known, self.choice(NUMBERS)], self.choice(ODD)])

    def blob(self, of: bytes) -> bytes:
        """Part of a file, or one with some bytes changed."""
        changed = bytearray(of)
        for _ in range(self.randrange(4)):
            if changed:
                changed[self.randrange(len(changed))] = self.randrange(256)
        return bytes(changed[: self.choice([len(changed), self.randrange(len(changed) + 1)])])


def made_by(chance: Chance) -> Tokenizer:
    if chance.randrange(2):
        merges = [(chance.choice([97, 98, 32, 39, 256, 257, 300]), chance.choice([97, 98, 115, 256, 258]))]
        pairs: Any = merges * chance.randrange(3) + [(97, 97), (256, 97)][: chance.randrange(3)]
        return Tokenizer.from_merges(pairs, special_tokens=chance.names(), pattern=chance.pattern())
    size: Any = chance.choice([*NUMBERS, *range(256, 280), *range(256, 280)])
    return Tokenizer.train(chance.texts(), size, special_tokens=chance.names(), pattern=chance.pattern())


def round_trip(made: Tokenizer, chance: Chance) -> None:
    text = chance.text()
    ids = made.encode(text, allowed_special=chance.choice([(), "all"]))
    assert made.decode(ids) == text
    assert made.decode_bytes(ids) == text.encode()


def batches(made: Tokenizer, chance: Chance) -> None:
    texts = [chance.text() for _ in range(chance.randrange(5))]
    threads: Any = chance.choice([1, 2, 3, *NUMBERS[:4]])
    expected = [made.encode(text) for text in texts]
    assert made.encode_batch(texts, threads=threads) == expected
    dtype: Any = chance.choice(["uint16", "uint32", "int64", "int8", "O", "nonsense"])
    prepend: Any = chance.choice([None, None, "<a>", *NUMBERS])
    ids, offsets = made.encode_batch_to_numpy(texts, threads=threads, dtype=dtype, prepend=prepend)
    first = prepend is not None
    parts = [ids[begin + first : end].tolist() for begin, end in pairwise(offsets.tolist())]
    assert parts == expected


def odd_arguments(made: Tokenizer, chance: Chance) -> None:
    call: Any = chance.choice([made.encode, made.split, made.encode_to_numpy, made.decode])
    call(chance.choice([*ODD, chance.text()]))


def odd_ids(made: Tokenizer, chance: Chance) -> None:
    errors = chance.choice(["replace", "ignore", "strict", "backslashreplace", "nonsense", "\ud800"])
    made.decode(chance.ids(made.vocab_size), errors=errors)


def odd_specials(made: Tokenizer, chance: Chance) -> None:
    sets = [["<a>"], ["none"], "<a>", "all", *ODD]
    text = chance.text() + chance.choice(["", "<a>", "<a><b>"])
    made.encode(text, allowed_special=chance.choice(sets), disallowed_special=chance.choice(sets))


def files(made: Tokenizer, chance: Chance) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tokenizer"
        made.save(path)
        whole = path.read_bytes()
        path.write_bytes(chance.blob(whole))
        assert Tokenizer.load(path).sha256 == made.sha256


CALLS = (round_trip, batches, odd_arguments, odd_ids, odd_specials, files)


def play(seed: int) -> int:
    """One tokenizer and some calls; the number of those that were refused."""
    chance, refused = Chance(seed), 0
    try:
        made = made_by(chance)
    except REFUSALS as error:
        return one_line(error)
    for _ in range(6):
        try:
            chance.choice(CALLS)(made, chance)
        except REFUSALS as error:
            refused += one_line(error)
    return refused


def one_line(error: Exception) -> int:
    # Python's own errors about types may be of several lines; ours are not.
    assert isinstance(error, TypeError) or "\n" not in str(error), repr(error)
    return 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    deadline = time.monotonic() + 60 * args.minutes
    plays = refused = 0
    while time.monotonic() < deadline:
        seed = args.seed + plays
        try:
            refused += play(seed)
        except BaseException as found:
            found.add_note(f"repeat it with --seed {seed} --minutes 0.001")
            raise
        plays += 1
    sys.stdout.write(f"{plays} tokenizers, {refused} calls refused, nothing found\n")


if __name__ == "__main__":
    main()
