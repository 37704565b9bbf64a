import logging
import threading

import pytest

from curtail_dist.report.feeder import Feeder
from curtail_dist.telemetry.events import Phase
from curtail_dist.telemetry.record import EventLog


class Still:
    def now(self):
        return 3600.0


class Listener:
    """A sink that remembers, and says when it has something."""

    def __init__(self):
        self.seen = []
        self.heard = threading.Event()
        self.closed = False
        self.cut = 0

    def cut_off(self):
        self.cut += 1

    def write(self, record):
        self.seen.append((record.site, record.event))
        self.heard.set()

    def caught_up(self):
        pass

    def close(self):
        self.closed = True


def test_a_sink_gets_its_own_sites_events_while_the_run_goes_on(tmp_path):
    listener = Listener()
    with (
        EventLog(tmp_path, site="texas", process="a", clock=Still()) as texas,
        EventLog(tmp_path, site="nevada", process="a", clock=Still()) as nevada,
        Feeder(tmp_path, lambda: listener, site="texas", every_s=0.01),
    ):
        nevada.emit(Phase(phase="off"))
        texas.emit(Phase(phase="join"))
        assert listener.heard.wait(10)
        texas.emit(Phase(phase="train"))
    assert listener.seen == [("texas", "phase")] * 2
    assert listener.closed


class Heard(logging.Handler):
    """Says when something was logged."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.anything = threading.Event()

    def emit(self, record):
        self.anything.set()


@pytest.fixture
def told():
    handler, logger = Heard(), logging.getLogger("curtail_dist.report.feeder")
    logger.addHandler(handler)
    yield handler.anything
    logger.removeHandler(handler)


@pytest.mark.parametrize("broken", ["no event\n", None], ids=["a broken line", "what cannot be read"])
def test_a_sink_goes_on_when_the_events_can_be_read_again(tmp_path, told, caplog, broken):
    listener, other = Listener(), tmp_path / "events" / "nevada.a.jsonl"
    with EventLog(tmp_path, site="texas", process="a", clock=Still()) as texas:
        other.mkdir() if broken is None else other.write_text(broken)
        texas.emit(Phase(phase="join"))
        with Feeder(tmp_path, lambda: listener, site="texas", every_s=0.01):
            assert told.wait(10)
            other.rmdir() if broken is None else other.unlink()
            assert listener.heard.wait(10)
    assert listener.seen == [("texas", "phase")] and listener.cut >= 1
    assert caplog.text.count("waits, since events cannot be read") == 1


def test_a_sink_that_fails_disturbs_nobody(tmp_path, caplog):
    def broken():
        raise OSError("the network is down")

    with (
        EventLog(tmp_path, site="texas", process="a", clock=Still()) as texas,
        Feeder(tmp_path, broken, site="texas"),
    ):
        texas.emit(Phase(phase="join"))
    assert "events are in the run directory" in caplog.text
