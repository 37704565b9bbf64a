"""Candidates of a table's rows: the shipped one first, each timed or out, the best one of each row."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

from gpu_kernels.child import Undone

K = TypeVar("K")
C = TypeVar("C")

Do = Callable[[Callable[[], Any]], Any]
"""Does a job, or gives `Undone`: see `Child.do`."""


class Found(NamedTuple):
    """What one candidate of one row took."""

    key: Any
    """The row's, in its table."""
    config: Any
    took: float
    """Seconds; infinite if it failed or is wrong."""
    why: str | None
    """Why it is out."""


def shipped_first(table: Mapping[K, C], key: K, others: Iterable[C]) -> Iterator[C]:
    """The row of the table, if there is one, then the others."""
    if key in table:
        yield table[key]
    yield from (each for each in others if each != table.get(key))


def timed(key: Any, config: Any, do: Do, took: Callable[[], float]) -> Found:
    """What a candidate takes, by a job that says how many seconds."""
    seconds = do(took)
    if isinstance(seconds, Undone):
        return Found(key, config, float("inf"), seconds.why)
    return Found(key, config, seconds, None)


def best(found: Iterable[Found]) -> dict[Any, Any]:
    """Of each row the candidate that took least, if any was right."""
    least: dict[Any, Found] = {}
    for one in found:
        if one.took < least.get(one.key, one._replace(took=float("inf"))).took:
            least[one.key] = one
    return {key: one.config for key, one in least.items()}
