"""Reckons what a run emitted and what else it could have, in a process of its own, now and then.

The summary of a long run takes seconds of a processor. In another process it delays no page, its memory is
given back, and it can be ended at once.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

from curtail_dist.errors import CurtailError
from curtail_dist.units import Seconds

EVERY_S: Seconds = 60.0
"""Between two summaries of a run that goes on; more where one takes long: a tenth of the time at most."""
FIRST_S: Seconds = 2.0
"""From when there is something to reckon to the first one: who has just begun to look wants the picture."""
MOST_S: Seconds = 600.0
CLOSE_S: Seconds = 5.0
_LOOK_S: Seconds = 0.2


class Reckoner:
    """Keeps the newest summary of a run. Owns a thread and the process that it waits for."""

    def __init__(
        self,
        directories: Sequence[Path],
        *,
        news: Callable[[], object | None],
        every_s: Seconds = EVERY_S,
    ) -> None:
        """Summarise the run in `directories` whenever `news` returns another value than None or the last."""
        self._command = [sys.executable, "-m", "curtail_dist.dashboard.reckoning", *map(str, directories)]
        self._news = news
        self._every_s = every_s
        self._told: tuple[int, dict[str, Any]] = (0, {})
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="dashboard-reckoner", daemon=True)

    def __enter__(self) -> Self:
        """Start."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """End the process and the thread; idempotent, bounded."""
        self._closing.set()
        if self._thread.ident is not None:
            self._thread.join(CLOSE_S)

    @property
    def told(self) -> tuple[int, dict[str, Any]]:
        """Return (how many summaries there were, the newest): its figures, or why there is none."""
        return self._told

    def _run(self) -> None:
        known: object | None = None
        while self._news() is None and not self._closing.wait(_LOOK_S):
            pass
        self._closing.wait(FIRST_S)
        while not self._closing.wait(_LOOK_S):
            news = self._news()
            if news is None or news == known:
                continue
            began = time.monotonic()
            summary = self._reckon()
            if summary is not None:
                known = news
                self._told = (self._told[0] + 1, summary)
            self._closing.wait(max(self._every_s, 9 * (time.monotonic() - began)))

    def _reckon(self) -> dict[str, Any] | None:
        """Return the summary, None where this is being closed."""
        process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the dashboard, which ends this.
        )
        reader = threading.Thread(
            target=lambda: answers.append(process.communicate()[0]), name="dashboard-summary", daemon=True
        )
        answers: list[bytes] = []
        reader.start()
        deadline = time.monotonic() + MOST_S
        while reader.is_alive() and time.monotonic() < deadline and not self._closing.is_set():
            reader.join(_LOOK_S)
        process.kill()
        reader.join(CLOSE_S)
        if self._closing.is_set():
            return None
        try:
            return json.loads(answers[0])
        except (IndexError, ValueError):
            return {"problem": "the summary could not be reckoned: its process ended without an answer"}


def reckoned(directories: Sequence[Path]) -> dict[str, Any]:
    """Return of a run's summary what the page shows, or `problem`: why there is none."""
    from curtail_dist.report.accounts import absent_text
    from curtail_dist.report.saving import saving_text
    from curtail_dist.report.whole import read_whole

    try:
        run = read_whole(directories)
    except (CurtailError, OSError, LookupError, TypeError, ValueError) as error:
        return {"problem": " ".join(str(error).split()) or type(error).__name__}
    whole, absent = run.summary, absent_text(run.history)
    always = {name: found["emissions_kg"] for name, found in whole["baselines"].items()}
    return {
        "kg": whole["emissions_kg"],
        "average_kg": whole["average_kg"],
        "always_on": always,
        "reference_kg": whole["reference_kg"],
        "optimum_kg": whole["oracle_schedule_kg"],
        "saved": saving_text(whole),
        "energy_kwh": whole["energy_kwh"],
        "stall_share": whole["sync"]["stall_share"],
        "t": whole["virtual_h"] * 3600,
        "notes": [*([absent] if absent else []), *whole["notes"]],
        "synthetic": whole["synthetic"],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the summary of the run in the directories that are given."""
    os.nice(5)  # A run on this machine goes first.
    given = sys.argv[1:] if arguments is None else arguments
    sys.stdout.write(json.dumps(reckoned([Path(name) for name in given]), allow_nan=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
