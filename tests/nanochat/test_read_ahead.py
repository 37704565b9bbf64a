import threading

import pytest

from nanochat.read_ahead import read_ahead


def test_what_comes_is_what_was_made_in_its_order():
    with read_ahead(range(50), depth=3) as ready:
        assert list(ready) == list(range(50))


def test_items_are_made_ahead_but_no_more_than_asked():
    made, enough = [], threading.Semaphore(0)

    def items():
        for i in range(100):
            made.append(i)
            enough.release()
            yield i

    with read_ahead(items(), depth=3) as ready:
        for _ in range(4):  # three that wait, and one in the thread's hand
            assert enough.acquire(timeout=10)
        assert not enough.acquire(timeout=0.3)
        assert next(ready) == 0
        assert enough.acquire(timeout=10)
    assert made == [0, 1, 2, 3, 4]


def test_an_error_comes_where_the_item_would_have():
    def items():
        yield 1
        raise ValueError("torn")

    with read_ahead(items()) as ready:
        assert next(ready) == 1
        with pytest.raises(ValueError, match="torn"):
            next(ready)


@pytest.mark.parametrize("taken", [0, 2])
def test_at_the_end_of_the_block_the_thread_is_gone(taken):
    makers, begun = [], threading.Event()

    def endless():
        makers.append(threading.current_thread())
        begun.set()
        while True:
            yield 0

    with read_ahead(endless()) as ready:
        assert begun.wait(timeout=10)
        for _ in range(taken):
            next(ready)
        assert makers[0].is_alive()
    assert not makers[0].is_alive()
