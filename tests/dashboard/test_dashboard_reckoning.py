"""The process that reckons a run for the dashboard: what it says, and that it ends with who wants it."""

import time

import psutil
import pytest
from dashboard_runs import write_run

from curtail_dist.dashboard.reckoning import Reckoner
from curtail_dist.report.build import summarize

pytestmark = pytest.mark.integration


def children():
    return [child for child in psutil.Process().children() if "reckoning" in " ".join(child.cmdline())]


def until(holds):
    deadline = time.monotonic() + 40
    while not holds():
        assert time.monotonic() < deadline, "it does not come"
        time.sleep(0.02)


def test_a_summary_comes_from_another_process_once_for_what_is_new(tmp_path):
    write_run(tmp_path, sites=2, events=300, finished=True)
    with Reckoner([tmp_path], news=lambda: 1, every_s=0.1) as reckoner:
        until(lambda: reckoner.told[0])
        assert reckoner.told[1]["kg"] == summarize([tmp_path])["emissions_kg"]
    assert reckoner.told[0] == 1 and children() == []


def test_closing_ends_the_process_at_once(tmp_path):
    write_run(tmp_path, sites=2, events=300)
    with Reckoner([tmp_path], news=lambda: 1) as reckoner:
        until(children)
        began = time.monotonic()
        reckoner.close()
        reckoner.close()
        assert time.monotonic() - began < 3.0
    assert children() == [] and reckoner.told == (0, {})


def test_nothing_is_reckoned_while_there_is_no_news(tmp_path):
    asked = []
    with Reckoner([tmp_path], news=lambda: asked.append(1)) as reckoner:
        until(lambda: len(asked) > 1)
        assert reckoner.told == (0, {}) and children() == []
