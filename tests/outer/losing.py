"""A gather in which a member is lost, as whoever waits for it sees it."""

import threading
import time

from curtail_dist.errors import PeerLost


class Watched:
    """Says who is alive, and that it was asked: an operation is then under way."""

    def __init__(self):
        self.asked = threading.Event()
        self.gone = set()

    def __call__(self, rank):
        self.asked.set()
        return rank not in self.gone


def lose(gather, alive, do):
    """Begin a gather, `do` something once it is under way; return the error and how long it took."""
    failed = []

    def run():
        try:
            gather()
        except PeerLost as error:
            failed.append((error, time.monotonic()))

    alive.asked.clear()
    thread = threading.Thread(target=run)
    thread.start()
    assert alive.asked.wait(20)
    began = time.monotonic()
    do()
    thread.join(20)
    assert failed, "the gather did not fail"
    return failed[0][0], failed[0][1] - began
