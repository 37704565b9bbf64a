"""The native module; import its names from `rustbpe`."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from os import PathLike
from typing import Any, Final, Literal, final

import numpy as np
import numpy.typing as npt

SPLIT_PATTERN: Final[str]
"""GPT-4's split pattern with numbers in groups of at most two digits."""

@final
class Tokenizer:
    """A byte-pair tokenizer. It never changes; threads may share it, and other threads run while it works.

    Ids 0 to 255 are the bytes, then come the merges in the order in which they were learnt, then the special
    tokens. It can be copied and pickled, as for the processes of a data loader. Every `str` argument must be
    valid Unicode: a lone surrogate is a ValueError.
    """

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        vocab_size: int,
        *,
        special_tokens: Sequence[str] = (),
        pattern: str = ...,
        threads: int | None = None,
        progress: Callable[[Literal["count", "merge"], int, int | None], object] | None = None,
    ) -> Tokenizer:
        """Learn a tokenizer of exactly `vocab_size` ids: 256 bytes, merges, and the special tokens.

        The same texts, in any order, give the same tokenizer: the most frequent pair of adjacent tokens is
        merged first, among equally frequent ones the smallest pair. Texts are read once, a few at a time;
        only their distinct pieces are kept. Special tokens are ordinary text here. Ctrl-C ends it in about a
        second.

        Args:
            texts: Read to its end.
            vocab_size: At least 256 + the number of special tokens.
            special_tokens: Different, non-empty strings of at most 1,000 bytes.
            pattern: Cuts a text into the pieces inside which tokens are merged; the syntax is that of the
                Rust crate fancy-regex. The default pattern takes time linear in the text.
            threads: From 1 to 1,024, by default as many as there are cores; they do not change what is
                learnt.
            progress: Called some times a second and at the end of each phase, with the phase, what is done of
                it, and what there is to do: bytes of text (how many there are is unknown, None), then merges.
                What it raises ends the training.

        Raises:
            ValueError: The text is not enough for `vocab_size` (the message says what is possible), its
                distinct pieces have 1 GiB or more, the pattern does not compile or leaves text unmatched, or
                another argument is out of range.
        """

    @classmethod
    def from_merges(
        cls,
        merges: Sequence[tuple[int, int]],
        *,
        special_tokens: Sequence[str] = (),
        pattern: str = ...,
    ) -> Tokenizer:
        """Put a tokenizer together from merges that were learnt elsewhere.

        Args:
            merges: Pairs of ids; the i-th makes id 256 + i of two smaller ones.
            special_tokens: Different, non-empty strings of at most 1,000 bytes; they get the ids after the
                last merge.
            pattern: As for `train`.

        Raises:
            ValueError: A merge is given twice or is of an id that is not made yet, or another argument is out
                of range.
        """

    @classmethod
    def from_tiktoken(
        cls,
        ranks: Mapping[bytes, int] | str | PathLike[str],
        *,
        special_tokens: Sequence[str] | Mapping[str, int] = (),
        pattern: str = ...,
    ) -> Tokenizer:
        """The tokenizer that encodes as tiktoken does with these mergeable ranks and this pattern.

        Args:
            ranks: The rank of each token, or a file with a token in base64 and its rank a line.
            special_tokens: As for `from_merges`; or with their ids, which must be those after the last rank.
            pattern: As for `train`.

        Raises:
            ValueError: A line of the file is something else; the ranks are not 0, 1, 2, ...; the first 256
                are not the bytes in their order (those of OpenAI's own encodings are not); a token is not
                merged to exactly two tokens by the ranks below its own, as those of every training are; or
                another argument is out of range.
            OSError: The file cannot be read.
        """

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Tokenizer:
        """Read a tokenizer from a file that `save` wrote; nothing in the file is executed.

        Raises:
            ValueError: The file is something else, damaged, or of another schema.
            OSError: The file cannot be read.
        """

    def save(self, path: str | PathLike[str]) -> None:
        """Write this tokenizer to `path` as JSON, atomically and durably.

        After an OSError, `path` is what it was before.
        """

    def save_tiktoken(self, path: str | PathLike[str]) -> None:
        """Write tiktoken's mergeable ranks, a token in base64 and its rank a line, atomically and durably.

        Pattern and special tokens have no place there: tiktoken is given `pattern` and `special_tokens`.

        Raises:
            ValueError: Two tokens have the same bytes, which no training gives but `from_merges` can.
            OSError: The file cannot be written; `path` is what it was before.
        """

    def save_huggingface(self, path: str | PathLike[str]) -> None:
        """Write a `tokenizer.json`, by which the library `tokenizers` gives the same ids; atomic and durable.

        It is byte-level BPE. There special tokens are always allowed, and the pattern is one of Oniguruma,
        which reads the default one as it is read here; another may mean something else to it.

        Raises:
            ValueError: Two tokens have the same bytes, which no training gives but `from_merges` can.
            OSError: The file cannot be written; `path` is what it was before.
        """

    def split(self, text: str) -> list[str]:
        """The pieces of `text`, inside which tokens are merged; joined they are `text`.

        Raises:
            ValueError: The pattern leaves a gap.
        """

    def encode(
        self,
        text: str,
        *,
        allowed_special: Collection[str] | Literal["all"] = (),
        disallowed_special: Collection[str] | Literal["all"] = (),
    ) -> list[int]:
        """The ids of `text`. Special tokens that are neither allowed nor disallowed are ordinary text.

        The ids are those that training's merges give, one after the other; time is linear in the text but for
        the sorting inside very long pieces. Whole pieces are remembered, in 4 to 10 MiB for each thread that
        encodes at the same time; those of as many threads as there are processors are kept for the next call.

        Args:
            text: What to encode.
            allowed_special: Each of these in the text becomes its one id; of those that begin at one place
                the longest is taken. The text between two of them is split as if it stood alone.
            disallowed_special: A text with one of these is refused, even where it is allowed. "all" is all
                that are not allowed. So it is in tiktoken, but for the default, which refuses none.

        Raises:
            ValueError: The text has a disallowed special token, an argument names what is no special token,
                or the pattern leaves a gap.
        """

    def encode_batch(
        self,
        texts: Iterable[str],
        *,
        allowed_special: Collection[str] | Literal["all"] = (),
        disallowed_special: Collection[str] | Literal["all"] = (),
        threads: int = 1,
    ) -> list[list[int]]:
        """`encode` for each text, in order, shared out among `threads` threads."""

    def encode_to_numpy(
        self,
        text: str,
        *,
        allowed_special: Collection[str] | Literal["all"] = (),
        disallowed_special: Collection[str] | Literal["all"] = (),
        dtype: npt.DTypeLike = "uint32",
    ) -> npt.NDArray[Any]:
        """`encode` into a new, writable array of shape (ids,), without a Python object for each id.

        Needs numpy, as does `encode_batch_to_numpy` but nothing else here.

        Args:
            text: As for `encode`.
            allowed_special: As for `encode`.
            disallowed_special: As for `encode`.
            dtype: uint32, int64, or uint16 where `vocab_size` is at most 65,536.

        Raises:
            ValueError: As for `encode`, or the type is another or too small.
        """

    def encode_batch_to_numpy(
        self,
        texts: Iterable[str],
        *,
        prepend: str | int | None = None,
        allowed_special: Collection[str] | Literal["all"] = (),
        disallowed_special: Collection[str] | Literal["all"] = (),
        threads: int = 1,
        dtype: npt.DTypeLike = "uint32",
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
        """The ids of all texts in one new, writable array, and where those of each begin and end.

        Args:
            texts: As for `encode_batch`.
            prepend: A special token's name or an id, which comes before the ids of each text.
            allowed_special: As for `encode`.
            disallowed_special: As for `encode`.
            threads: How many threads share the texts, from 1 to 1,024.
            dtype: As for `encode_to_numpy`.

        Returns:
            ids of shape (ids of all texts,), and offsets of shape (texts + 1,): those of text i are
            ids[offsets[i] : offsets[i + 1]], what is prepended included.
        """

    def decode(self, ids: Iterable[int], *, errors: str = "replace") -> str:
        """The text of `ids`, special tokens included; inverse of `encode`.

        Ids cut anywhere may end inside a character: `errors` is what `bytes.decode` does with that.

        Raises:
            ValueError: An id is unknown; the message gives the valid range.
        """

    def decoder(self, *, errors: str = "replace") -> Decoder:
        """Decodes ids that come bit by bit; `errors` is as for `decode`."""

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """The bytes of `ids`. Raises ValueError where an id is unknown."""

    def token_bytes(self, id: int) -> bytes:
        """The bytes of one id; those of a special token are its string in UTF-8."""

    @property
    def vocab_size(self) -> int:
        """The number of ids; valid ones are in [0, vocab_size)."""

    @property
    def special_tokens(self) -> dict[str, int]:
        """A new dict of each special token and its id, in the order of the ids."""

    @property
    def merges(self) -> list[tuple[int, int]]:
        """A new list of the merges: number i makes id 256 + i of two earlier ids."""

    @property
    def pattern(self) -> str:
        """The pattern that cuts a text into pieces."""

    @property
    def sha256(self) -> str:
        """The identity of this tokenizer, in hex: equal for equal pattern, merges and special tokens.

        It is the hash of schema, pattern, merges and special tokens, in this order, as one JSON object in
        UTF-8 without spaces; it does not depend on where or how the tokenizer is stored.
        """

    @property
    def hash(self) -> str:
        """The same as `sha256`."""

@final
class Decoder:
    """Turns ids into text while they come; made by `Tokenizer.decoder`.

    It owns the bytes of a character that is not whole yet, three at most. What it returned, joined, is what
    `decode` makes of all ids together.
    """

    def feed(self, ids: int | Iterable[int]) -> str:
        """The text that one or several ids complete; "" if they complete none.

        Raises:
            ValueError: An id is unknown; nothing was taken.
            UnicodeDecodeError: With errors="strict", the bytes are no UTF-8; it begins anew.
        """

    def finish(self) -> str:
        """What is left at the end, decoded as `errors` says; it begins anew.

        Raises:
            UnicodeDecodeError: With errors="strict", a character is not whole.
        """
