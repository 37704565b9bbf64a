from contextlib import nullcontext

import pytest


class StillClock:
    """Run time that moves only when the test says so."""

    def __init__(self, now=0.0):
        self.at = now

    def now(self):
        return self.at

    def sleep(self, duration):
        self.at += duration

    def spend(self, duration):
        self.at += duration

    def waiting(self):
        return nullcontext()

    def reserve(self, participant, duration):
        pass

    def release(self, participant):
        pass

    def arrive(self):
        pass

    def close(self):
        pass


@pytest.fixture
def clock():
    return StillClock()


@pytest.fixture
def write(tmp_path):
    """Write a text to a file and return its path."""

    def _write(text, name="trace.csv"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return _write
