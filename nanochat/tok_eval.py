"""Verb: how well the tokenizer of a root compresses, and that it gives every text back."""

import json
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import takewhile

from nanochat import shards
from nanochat.arguments import add_out, check_out
from nanochat.dataset import manifest_path
from nanochat.files import write_text
from nanochat.tok_train import tokenizer_path
from nanochat.tokenizer import Tokenizer
from nanochat.verb import Parser, run, say

PROBES = {
    "English": (
        "The wind rose towards evening, and by nine the turbines along the ridge were making more than the "
        "line could carry. Somebody had to decide what to do with the rest; for years it had been: nothing."
    ),
    "German": (
        "Gegen Abend frischte der Wind auf, und um neun erzeugten die Räder auf dem Höhenzug mehr, als die "
        "Leitung fassen konnte. Jemand musste entscheiden, was mit dem Überschuss geschehen sollte."
    ),
    "Korean": (
        "저녁이 되자 바람이 거세졌고, 아홉 시에는 능선의 풍차가 "
        "송전선이 감당할 수 있는 양보다 많은 전기를 만들었다."
    ),
    "Python": (
        "def surplus(made: list[float], line: float) -> float:\n"
        '    """What the line cannot carry, in MWh."""\n'
        "    return sum(max(0.0, each - line) for each in made)\n"
    ),
    "numbers": "1 22 333 4444 55555 1,234,567.89 0x1F 2026-11-24 12:34:56 3.14159 -17 1e-10",
    "odd": "\u0000\t\r\n \u00a0\u200d\U0001f469\u200d\U0001f4bb e\u0301 <|bos|> \ufeff\\\\ '''",
}
"""Texts of several kinds; the last is of what texts seldom have."""


@dataclass(frozen=True)
class Compression:
    """What became of some texts."""

    bytes: int
    tokens: int

    @property
    def bytes_per_token(self) -> float:
        """Bytes that a token stands for, on average."""
        return self.bytes / max(1, self.tokens)


def compression(tokenizer: Tokenizer, texts: Iterable[str], used: set[int] | None = None) -> Compression:
    """Encode every text, and decode it again; adds the tokens to `used`.

    Raises:
        ValueError: A text does not come back as it was; says where it differs.
    """
    length = count = 0
    for text in texts:
        ids = tokenizer.encode(text)
        back = tokenizer.decode(ids)
        if back != text:
            alike = takewhile(lambda pair: pair[0] == pair[1], zip(text, back, strict=False))
            at = sum(1 for _ in alike)
            raise ValueError(
                f"the tokenizer gives {back[at : at + 20]!r} for {text[at : at + 20]!r}; "
                "it must give every text back: train it again"
            )
        length, count = length + len(text.encode()), count + len(ids)
        if used is not None:
            used.update(ids)
    return Compression(length, count)


def main(argv: list[str] | None = None) -> None:
    """Parse, encode and decode, say the figures."""
    parser = Parser("Evaluate the tokenizer: bytes a token, and that every text comes back.")
    add_out(parser)
    args = parser.parse_args(argv)
    check_out(args)
    tokenizer = Tokenizer.load(tokenizer_path(args.root))
    used: set[int] = set()
    found = {name: compression(tokenizer, [text]) for name, text in PROBES.items()}
    if manifest_path(args.root).exists():
        held_out = shards.read_texts(shards.load(manifest_path(args.root)), "val")
        found["the held-out split"] = compression(tokenizer, held_out, used)
    for name, one in found.items():
        say(f"{name}: {one.bytes_per_token:.2f} bytes a token ({one.bytes} bytes, {one.tokens} tokens)")
    longest = int(tokenizer.token_bytes().max())
    share = len(used) / tokenizer.vocab_size
    say(f"{tokenizer.vocab_size} tokens, the longest of {longest} bytes; the held-out split has {share:.1%}")
    say("every text came back as it was")
    if args.out is not None:
        texts = {name: {**asdict(one), "bytes_per_token": one.bytes_per_token} for name, one in found.items()}
        summary = {"vocab_size": tokenizer.vocab_size, "longest_token": longest, "used_share": share}
        write_text(args.out, json.dumps({**summary, "texts": texts}, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(run(main))
