"""What a transaction must be, in every store."""

from collections.abc import Mapping, Sequence


def check_disjoint(puts: Mapping[str, bytes], deletes: Sequence[str]) -> None:
    """Raise ValueError when a transaction names a key twice: it would have no single outcome."""
    twice = sorted({key for key in deletes if key in puts or deletes.count(key) > 1})
    if twice:
        raise ValueError(f"the transaction writes {twice[0]!r} twice; name each key once in puts and deletes")
