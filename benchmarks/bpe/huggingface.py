"""Byte-level BPE for the library `tokenizers`, which writes each byte as a printable character."""

from tokenizers import Regex, Tokenizer, models, pre_tokenizers

from bpe.trainers import PATTERN

PRINTABLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
OTHERS = [byte for byte in range(256) if byte not in PRINTABLE]
CHARACTER = {byte: chr(byte) for byte in PRINTABLE} | {byte: chr(256 + i) for i, byte in enumerate(OTHERS)}
BYTE = {character: byte for byte, character in CHARACTER.items()}


def to_bytes(token: str) -> bytes:
    return bytes(BYTE[character] for character in token)


def to_characters(token: bytes) -> str:
    return "".join(CHARACTER[byte] for byte in token)


def empty(model: models.BPE | None = None, pattern: str = PATTERN) -> Tokenizer:
    """A tokenizer that splits by `pattern`."""
    made = Tokenizer(model or models.BPE())
    steps = [
        pre_tokenizers.Split(Regex(pattern), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ]
    made.pre_tokenizer = pre_tokenizers.Sequence(steps)
    return made


def built(tokens: list[bytes], merges: list[tuple[int, int]]) -> Tokenizer:
    """A tokenizer with the given tokens, by id, and merges."""
    names = [to_characters(token) for token in tokens]
    vocabulary = {name: id for id, name in enumerate(names)}
    return empty(models.BPE(vocabulary, [(names[left], names[right]) for left, right in merges]))
