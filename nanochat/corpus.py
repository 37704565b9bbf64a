"""A real corpus that needs no network: the sources of the standard library of the Python that runs.

A document is a top-level definition of a module, or what its definitions leave, cut at line ends into pieces
of bounded size. The documents follow from the sources and a seed alone.
"""

import ast
import hashlib
import io
import os
import random
import tokenize
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nanochat.shards import DataProblem

LEFT_OUT_DIRECTORIES = frozenset(
    {
        "__pycache__", "site-packages", "dist-packages", "test", "tests", "idle_test",  # not the library
        "encodings", "pydoc_data",  # generated tables
    }
)  # fmt: skip
LEFT_OUT_PREFIXES = ("_sysconfigdata",)
"""Generated, and full of paths of the machine that built Python."""
DOCUMENT_BYTES = 4_096
VAL_ONE_IN = 16
"""One file in so many is held out."""


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Documents of each split, in their final order."""

    train: tuple[str, ...]
    val: tuple[str, ...]
    files: int
    """Source files read."""
    skipped: tuple[str, ...]
    """Source files that could not be decoded, each with the reason."""


def build(stdlib: Path, *, max_bytes: int, seed: int) -> Corpus:
    """Read the sources below `stdlib` into documents.

    Files are split by the hash of their content, so no document of a validation file is trained on, and equal
    documents are kept once. The documents are then shuffled.

    Args:
        stdlib: Directory of the standard library.
        max_bytes: The documents of both splits have at most so many UTF-8 bytes together.
        seed: Of the order, and so of what `max_bytes` cuts off.

    Raises:
        DataProblem: There are no sources.
    """
    documents: list[tuple[str, str]] = []
    seen: set[bytes] = set()
    skipped: list[str] = []
    files = 0
    for path in source_files(stdlib):
        try:
            source = _decode(path.read_bytes())
        except (SyntaxError, UnicodeError, LookupError, OSError) as error:
            skipped.append(f"{path.relative_to(stdlib).as_posix()}: {type(error).__name__}")
            continue
        files += 1
        split = split_of(source)
        for document in documents_of(source):
            digest = hashlib.sha256(document.encode()).digest()
            if digest not in seen:
                seen.add(digest)
                documents.append((split, document))
    if not documents:
        raise DataProblem(
            f"{stdlib} holds no Python sources; it must hold a library's *.py files: install Python's sources"
        )
    random.Random(seed).shuffle(documents)
    chosen = list(_within(documents, max_bytes))
    return Corpus(
        train=tuple(text for split, text in chosen if split == "train"),
        val=tuple(text for split, text in chosen if split == "val"),
        files=files,
        skipped=tuple(skipped),
    )


def source_files(stdlib: Path) -> Iterator[Path]:
    """The library's own *.py files below `stdlib`, without tests and tables, sorted by relative path."""
    found: list[tuple[str, Path]] = []
    for directory, names, files in os.walk(stdlib):
        names[:] = [name for name in names if name not in LEFT_OUT_DIRECTORIES]
        for name in files:
            if name.endswith(".py") and not name.startswith(LEFT_OUT_PREFIXES):
                path = Path(directory, name)
                found.append((path.relative_to(stdlib).as_posix(), path))
    return (path for _, path in sorted(found))


def split_of(source: str) -> str:
    """`val` for one file in `VAL_ONE_IN`, by the hash of its content."""
    return "val" if hashlib.sha256(source.encode()).digest()[0] % VAL_ONE_IN == 0 else "train"


def documents_of(source: str) -> list[str]:
    """A module's top-level definitions in order, then the rest; a file that does not parse is all rest.

    None is blank, and none has more than `DOCUMENT_BYTES` bytes unless a single line has.
    """
    lines = source.splitlines(keepends=True)
    spans = _definitions(source)
    parts = ["".join(lines[first:last]) for first, last in spans]
    covered = {number for first, last in spans for number in range(first, last)}
    parts.append("".join(line for number, line in enumerate(lines) if number not in covered))
    return [piece for part in parts for piece in _pieces(part) if piece.strip()]


def _definitions(source: str) -> list[tuple[int, int]]:
    """Line spans [first, last) of the top-level functions and classes, decorators included."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old sources: invalid escapes and the like
            tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return []
    spans: list[tuple[int, int]] = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            spans.append((first - 1, node.end_lineno or node.lineno))
    return spans


def _pieces(text: str) -> Iterator[str]:
    piece, size = [], 0
    for line in text.splitlines(keepends=True):
        length = len(line.encode())
        if piece and size + length > DOCUMENT_BYTES:
            yield "".join(piece)
            piece, size = [], 0
        piece.append(line)
        size += length
    yield "".join(piece)


def _decode(raw: bytes) -> str:
    encoding, _ = tokenize.detect_encoding(io.BytesIO(raw).readline)
    text = raw.decode(encoding).replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n")
    text.encode()  # lone surrogates cannot go on
    return text


def _within(documents: list[tuple[str, str]], max_bytes: int) -> Iterator[tuple[str, str]]:
    total = 0
    for split, text in documents:
        total += len(text.encode())
        if total > max_bytes:
            return
        yield split, text
