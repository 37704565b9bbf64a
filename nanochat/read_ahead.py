"""Items made ahead by a thread of their own, so that who uses them does not wait for them."""

import queue
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")

DEPTH = 4
_LOOK_S = 0.1
"""How long the thread may not see that it is no longer wanted."""


class _End:
    """The last that comes: why there is no more."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


@contextmanager
def read_ahead(items: Iterable[T], *, depth: int = DEPTH) -> Iterator[Iterator[T]]:
    """Iterate over `items` in a thread that keeps up to `depth` of them ready.

    What the iteration raises is raised where the item would have come. At the end of the block the thread is
    joined, wherever it stood.
    """
    ready: queue.Queue[T | _End] = queue.Queue(maxsize=depth)
    unwanted = threading.Event()

    def hand_over(item: T | _End) -> bool:
        while not unwanted.is_set():
            try:
                ready.put(item, timeout=_LOOK_S)
            except queue.Full:
                continue
            return True
        return False

    def make() -> None:
        error: BaseException | None = None
        try:
            for item in items:
                if not hand_over(item):
                    return
        except Exception as raised:  # noqa: BLE001 - it is raised again, where the items are used
            error = raised
        hand_over(_End(error))

    thread = threading.Thread(target=make, name="read-ahead", daemon=True)
    thread.start()
    try:
        yield _until_end(ready)
    finally:
        unwanted.set()
        thread.join()


def _until_end(ready: "queue.Queue[T | _End]") -> Iterator[T]:
    while True:
        item = ready.get()
        if isinstance(item, _End):
            if item.error is not None:
                raise item.error
            return
        yield item
